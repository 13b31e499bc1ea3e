"""The network's seams: front end, body, unit of the target, memory format."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from tessera.core.backbone.activations import ELU
from tessera.core.network import Network


def network(body: nn.Module) -> Network:
    return Network(nn.Identity(), body).eval()


def test_channels_last_changes_the_memory_and_not_the_answer() -> None:
    body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    plain, fast = network(body), network(copy.deepcopy(body))
    fast.use_channels_last()
    x = torch.randn(2, 3, 9, 11, generator=torch.Generator().manual_seed(0))
    assert fast.body[0].weight.is_contiguous(memory_format=torch.channels_last)  # type: ignore[index]
    torch.testing.assert_close(fast(x), plain(x))


@pytest.mark.parametrize("body", [nn.Conv1d(3, 4, 3), nn.Conv3d(3, 4, 3)])
def test_other_dimensions_stay_as_they_are(body: nn.Module) -> None:
    x = torch.randn(2, 3, *(5,) * (body.weight.ndim - 2))  # type: ignore[union-attr, operator]
    expected = body(x)
    changed = network(body)
    changed.use_channels_last()
    torch.testing.assert_close(changed(x), expected)


def test_elu_is_torchs_own_in_value_and_slope() -> None:
    x = torch.cat([torch.linspace(-30, 30, 2001), torch.tensor([0.0, -0.0, -1e-9, 1e-9])])
    ours, theirs = x.clone().requires_grad_(), x.clone().requires_grad_()
    ELU()(ours).backward(torch.ones_like(x))
    nn.functional.elu(theirs).backward(torch.ones_like(x))  # type: ignore[no-untyped-call]
    torch.testing.assert_close(ELU()(x), nn.functional.elu(x), atol=1e-7, rtol=0)
    assert ours.grad is not None
    torch.testing.assert_close(ours.grad, theirs.grad, atol=2e-7, rtol=0)


def test_the_slope_of_elu_agrees_with_differences() -> None:
    x = torch.tensor([-3.0, -0.5, 0.7, 2.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(ELU(), (x,))


def test_elu_keeps_its_input() -> None:
    x = torch.tensor([-1.0, 2.0])
    ELU()(x)
    assert x.tolist() == [-1.0, 2.0]
