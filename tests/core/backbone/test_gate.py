"""SE and ECA against the worked examples of their sheets."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import build_gate

FOUR_VALUES = {1: (4,), 2: (2, 2), 3: (1, 2, 2)}


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_se_gives_the_worked_example(spatial_dims: int) -> None:
    gate = build_gate("se", spatial_dims, 2, ratio=2, bias=False)  # type: ignore[arg-type]
    squeeze, excite = gate.parameters()
    with torch.no_grad():
        squeeze.copy_(torch.tensor([[0.5, -1.0]]))
        excite.copy_(torch.tensor([[0.0], [math.log(3)]]))
    x = torch.tensor([[1.0, 3, 5, 7], [0, 0, 0, 4]]).reshape(1, 2, *FOUR_VALUES[spatial_dims])
    expected = torch.tensor([[0.5, 1.5, 2.5, 3.5], [0, 0, 0, 3.0]]).reshape_as(x)
    torch.testing.assert_close(gate(x), expected)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_se_has_580_parameters_for_64_channels(spatial_dims: int) -> None:
    assert parameter_count(build_gate("se", spatial_dims, 64)) == 580  # type: ignore[arg-type]


def test_se_of_fewer_channels_than_the_ratio_keeps_one_hidden_unit() -> None:
    assert parameter_count(build_gate("se", 1, 5)) == (5 + 1) + (5 + 5)


def test_se_adds_2_530_992_parameters_to_resnet_50() -> None:
    blocks = {256: 3, 512: 4, 1024: 6, 2048: 3}
    added = sum(count * parameter_count(build_gate("se", 2, width)) for width, count in blocks.items())
    assert added == 2_530_992


def test_se_without_a_ratio_is_refused() -> None:
    with pytest.raises(ValueError, match="ratio 0"):
        build_gate("se", 2, 8, ratio=0)


@pytest.mark.parametrize("spatial_dims", [1, 2, 3])
def test_eca_gives_the_worked_example(spatial_dims: int) -> None:
    gate = build_gate("eca", spatial_dims, 4, kernel=3)  # type: ignore[arg-type]
    (kernel,) = gate.parameters()
    with torch.no_grad():
        kernel.copy_(torch.tensor([[[1.0, 0, -1]]]))
    means = torch.tensor([1.0, 2, 3, 4])
    x = (means[:, None] + torch.tensor([-1.0, 1, 2, -2])).reshape(1, 4, *FOUR_VALUES[spatial_dims])
    weights = torch.tensor([0.11920292, 0.11920292, 0.11920292, 0.95257413])
    torch.testing.assert_close(gate(x), x * weights.reshape(1, 4, *[1] * spatial_dims))


@pytest.mark.parametrize(
    ("channels", "kernel"),
    [(8, 3), (16, 3), (32, 3), (64, 3), (128, 5), (256, 5), (512, 5), (1024, 5), (2048, 7), (1, 3)],
)
def test_eca_kernel_grows_with_the_channels(channels: int, kernel: int) -> None:
    assert parameter_count(build_gate("eca", 2, channels)) == kernel


def test_eca_adds_86_parameters_to_resnet_50() -> None:
    blocks = {256: 3, 512: 4, 1024: 6, 2048: 3}
    added = sum(count * parameter_count(build_gate("eca", 2, width)) for width, count in blocks.items())
    assert added == 86


@pytest.mark.parametrize("kernel", [0, 4])
def test_eca_kernel_without_a_middle_is_refused(kernel: int) -> None:
    with pytest.raises(ValueError, match=f"kernel {kernel}"):
        build_gate("eca", 2, 8, kernel=kernel)


def test_identity_changes_nothing_and_has_no_parameters() -> None:
    gate = build_gate("identity", 2, 8)
    x: Tensor = torch.randn(1, 8, 3, 5)
    assert torch.equal(gate(x), x)
    assert parameter_count(gate) == 0
