"""PlainConvUNet against the counts of nnU-Net's worked plans."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tessera.core.backbone.macs import count_macs
from tessera.medical.models.plain_unet import PlainConvUNet

from . import plans
from .checks import check_network, memory_proxy, parameter_count

WORKED = {  # stages, channels in, classes, patch, memory proxy, parameters
    "hippocampus": (plans.HIPPOCAMPUS, 1, 3, (40, 56, 40), 19_174_400, 5_603_177),
    "brats": (plans.BRATS, 4, 4, (128, 128, 128), 454_893_568, 31_199_796),
    "prostate": (plans.PROSTATE, 2, 3, (20, 320, 256), 483_315_200, 44_578_770),
    "liver": (plans.LIVER, 1, 3, (128, 128, 128), 452_796_416, 31_196_399),
    "abdomen-ct": (plans.ABDOMEN, 1, 14, (40, 224, 192), 481_447_680, 30_713_158),
    "abdomen-mr": (plans.ABDOMEN, 1, 14, (48, 160, 224), 481_447_680, 30_713_158),
    "acdc": (plans.ACDC, 1, 4, (20, 256, 224), 310_481_920, 30_377_428),
    "cbct": (plans.CBCT, 1, 2, (96, 160, 160), 528_211_200, 30_785_994),
    "airway": (plans.AIRWAY, 1, 2, (128, 128, 128), 450_699_264, 31_195_594),
    "cell-2d": (plans.CELL_2D, 3, 3, (512, 512), 82_886_656, 46_327_157),
    "abdomen-mr-2d": (plans.MR_2D, 1, 14, (320, 320), 33_459_200, 33_489_940),
    "generic-2d": (plans.MR_2D, 1, 4, (256, 256), 20_758_528, 33_474_840),
    "endovis-2d": (plans.MR_2D, 3, 8, (384, 640), 78_827_520, 33_481_456),
    "endovis-2d-large": (plans.ENDOVIS_2D, 3, 8, (896, 1536), 442_208_256, 58_668_800),
}


@pytest.mark.parametrize("case", WORKED.values(), ids=WORKED)
def test_parameters_and_maps_of_the_worked_plans_equal_the_sheet(case: tuple[Any, ...]) -> None:
    options, channels, classes, patch, values, parameters = case
    with torch.device("meta"):
        network = PlainConvUNet(channels, classes, **options)
        assert sum(p.numel() for p in network.parameters()) == parameters
        assert memory_proxy(network, torch.empty(1, channels, *patch)) == values


@pytest.mark.parametrize(
    ("options", "channels", "classes", "parameters"),
    [(plans.BRATS, 1, 14, 31_205_254), (plans.isotropic(3, 5), 1, 2, 16_547_592)],
)
def test_parameters_of_isotropic_networks_equal_the_sheet(
    options: dict[str, Any], channels: int, classes: int, parameters: int
) -> None:
    assert parameter_count(PlainConvUNet, channels, classes, **options) == parameters


@pytest.mark.parametrize(
    ("options", "channels", "classes", "patch", "giga"),
    [
        (plans.MR_2D, 1, 14, (320, 320), 23.1),
        (plans.MR_2D, 3, 8, (384, 640), 55.5),
        (plans.CELL_2D, 3, 3, (512, 512), 59.8),
        (plans.ABDOMEN, 1, 14, (40, 224, 192), 461.0),
        (plans.LIVER, 1, 3, (128, 128, 128), 477.3),
    ],
)
def test_multiply_adds_equal_the_sheet(
    options: dict[str, Any], channels: int, classes: int, patch: tuple[int, ...], giga: float
) -> None:
    with torch.device("meta"):
        network = PlainConvUNet(channels, classes, **options).eval()
        assert count_macs(network, torch.empty(1, channels, *patch)) / 1e9 == pytest.approx(giga, abs=0.05)


@pytest.mark.parametrize(("options", "size"), [(plans.TINY_3D, (6, 8, 12)), (plans.TINY_2D, (12, 6))])
def test_network_is_sound(options: dict[str, Any], size: tuple[int, ...]) -> None:
    check_network(PlainConvUNet, size, options)


def test_depths_are_those_asked_for() -> None:
    """One stage more: a 3 x 3 convolution of 6 channels and its norm, in 2-D."""
    base = parameter_count(PlainConvUNet, 1, 2, **plans.TINY_2D)
    deeper = parameter_count(PlainConvUNet, 1, 2, **plans.TINY_2D, convs=(2, 3, 2), decoder_convs=(3, 2))
    assert deeper - base == 2 * (6 * 6 * 3 + 6 + 2 * 6)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": [4, 6]}, "2 features, 3 strides and 3 kernels"),
        ({"strides": [(2, 2), (2, 2), (2, 2)]}, r"first stage has stride \(2, 2\)"),
        ({"kernels": [(3, 3), (2, 3), (3, 3)]}, "odd"),
        ({"kernels": [(3, 3), (3, 3, 3), (3, 3)]}, "one number per axis"),
        ({"convs": (2, 2)}, r"convs=\(2, 2\): give one number, or one for each of 3 stages"),
        ({"decoder_convs": 0}, "decoder_convs=0"),
    ],
)
def test_impossible_stages_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PlainConvUNet(1, 2, **(plans.TINY_2D | changes))
