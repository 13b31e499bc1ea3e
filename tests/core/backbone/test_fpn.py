"""Feature pyramids against torchvision's."""

from __future__ import annotations

import pytest
import torch
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.rpn import AnchorGenerator
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.encoders import Encoder
from tessera.core.backbone.fpn import FeaturePyramid, PyramidEncoder
from tessera.core.backbone.layout import EncoderLayout

from .checks import DIMS, check_gradients

SMALL = EncoderLayout(widths=(4, 6, 8, 8), depths=(1, 1, 1, 1), stem_width=4)


def test_torchvision_s_weights_give_torchvision_s_maps() -> None:
    theirs = FeaturePyramidNetwork([3, 5, 7], 4, extra_blocks=LastLevelMaxPool())
    ours = FeaturePyramid(2, [3, 5, 7], width=4, extra=1)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values(), strict=True)))
    sizes = [(17, 19), (9, 10), (5, 5)]
    maps = [torch.randn(2, c, *size) for c, size in zip([3, 5, 7], sizes, strict=True)]
    expected = theirs({str(i): y for i, y in enumerate(maps)})
    assert list(expected) == ["0", "1", "2", "pool"]
    for mine, other in zip(ours(maps), expected.values(), strict=True):
        torch.testing.assert_close(mine, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_maps_have_the_stated_strides_and_one_width(spatial_dims: SpatialDims) -> None:
    network = PyramidEncoder(Encoder(spatial_dims, layout=SMALL), width=5, extra=2).eval()
    maps = network(torch.randn(1, 3, *(128, 64, 64)[:spatial_dims]))
    assert list(maps) == ["0", "1", "2", "3", "4", "5"]
    assert [s[0] for s in network.strides] == [4, 8, 16, 32, 64, 128]
    assert [y.shape[:3] for y in maps.values()] == [(1, 5, n) for n in (32, 16, 8, 4, 2, 1)]


def test_gradients_reach_every_parameter() -> None:
    class Summed(PyramidEncoder):
        def forward(self, x: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            return torch.cat([y.flatten(1) for y in super().forward(x).values()], dim=1)

    check_gradients(Summed(Encoder(2, layout=SMALL), width=5), torch.randn(2, 3, 64, 64))


def test_number_of_maps_is_checked() -> None:
    with pytest.raises(ValueError, match="1 maps, but it was built for 2"):
        FeaturePyramid(1, [3, 4])([torch.zeros(1, 3, 8)])


def test_torchvision_s_detector_takes_it_as_its_backbone() -> None:
    backbone = PyramidEncoder(Encoder(2, layout=SMALL), width=8)
    anchors = AnchorGenerator(tuple((8 * 2**i,) for i in range(5)), ((1.0,),) * 5)
    detector = FasterRCNN(
        backbone,
        num_classes=2,
        rpn_anchor_generator=anchors,
        min_size=64,
        max_size=64,
        rpn_post_nms_top_n_test=10,
    ).eval()
    with torch.no_grad():
        (found,) = detector([torch.rand(3, 64, 64)])
    assert found["boxes"].shape[1:] == (4,)
