"""The shared checks accept good plugs and catch each kind of bad one."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, build_down, build_gate, build_head, conv, require_dims

from .checks import DIMS, check_plug, floored, last_of_two_maps, logits, strided


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_good_plugs_pass(spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: build_gate("se", d, 8), spatial_dims)
    check_plug(lambda d: build_down("conv", d, 8, 5, 2), spatial_dims, expected=strided(5, 2))
    check_plug(lambda d: build_down("max", d, 8, 5, 2), spatial_dims, expected=floored(5, 2))
    check_plug(
        lambda d: build_head("mean_max", d, [4, 8], 3),
        spatial_dims,
        expected=logits(3),
        call=last_of_two_maps,
    )


class Bad(nn.Module):
    """A pointwise convolution followed by a mistake."""

    def __init__(self, mistake: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 1)
        self.mistake = mistake

    def forward(self, x: Tensor) -> Tensor:
        return self.mistake(self.conv(x))


class ForgottenParameter(Bad):
    def __init__(self) -> None:
        super().__init__(torch.relu)
        self.forgotten = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0 * self.forgotten


class StateOutsideTheStateDict(Bad):
    def __init__(self) -> None:
        super().__init__(torch.relu)
        self.hidden = torch.randn(1)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.hidden


@pytest.mark.parametrize(
    ("build", "complaint"),
    [
        (lambda d: Bad(lambda y: y[..., 1:]), "shape"),
        (lambda d: Bad(lambda y: y.detach() + 0), "require grad|no gradient"),
        (lambda d: Bad(lambda y: y + torch.rand(1)), "evaluation twice differs"),
        (lambda d: Bad(lambda y: y - y.mean(0)), "not close"),
        (lambda d: Bad(lambda y: y.log()), "not finite"),
        (lambda d: ForgottenParameter(), "no gradient reaches plug.forgotten"),
        (lambda d: StateOutsideTheStateDict(), "state dict does not hold"),
        (lambda d: nn.ReLU(inplace=True), "in place|inplace"),
        (lambda d: Bad(lambda y: y if y.sum() > 0 else -y), "control flow|data-dependent"),
    ],
)
def test_bad_plugs_fail(build: Callable[[SpatialDims], nn.Module], complaint: str) -> None:
    with pytest.raises(Exception, match=complaint):
        check_plug(build, 1)


def test_plug_for_planes_only_must_refuse_the_other_dimensions_by_number() -> None:
    def planes_only(d: SpatialDims) -> nn.Module:
        require_dims("mixer 'flat'", d, supported=(2,))
        return conv(d, 8, 8, kernel=3, padding=1)

    for spatial_dims in DIMS:
        check_plug(planes_only, spatial_dims, serves=(2,))
    with pytest.raises(BaseException, match="DID NOT RAISE"):
        check_plug(lambda d: build_gate("se", d, 8), 3, serves=(2,))
