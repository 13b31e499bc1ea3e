"""What every plug of every slot must do, whatever it computes.

Each test module of a plug has one test that calls `check_plug` in each dimension, beside its own
parameter counts, worked examples and comparisons with other libraries::

    from .checks import DIMS, check_plug, logits, strided

    @pytest.mark.parametrize("spatial_dims", DIMS)
    def test_se_is_a_good_plug(spatial_dims: SpatialDims) -> None:
        check_plug(lambda d: build_gate("se", d, 8), spatial_dims)

    @pytest.mark.parametrize("stride", [1, 2])
    @pytest.mark.parametrize("spatial_dims", DIMS)
    def test_sk_is_a_good_plug(spatial_dims: SpatialDims, stride: int) -> None:
        check_plug(
            lambda d: build_mixer("sk", d, 8, 12, stride), spatial_dims, expected=strided(12, stride)
        )

Gates, adns, mixers and downs take (B, channels, *S) with the odd sizes of `SIZES`; give ``size`` to a plug
of a fixed grid, and ``serves=(2,)`` to a plug for planes only: the other dimensions must then be refused
by a ValueError that names the dimension. A head takes several maps: ``call=last_of_two_maps`` with
``expected=logits(5)``, built for channels [4, 8]. A plug that ``torch.export`` cannot take says why:
``no_export="..."``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims

DIMS: tuple[SpatialDims, ...] = (1, 2, 3)
SIZES: dict[int, tuple[int, ...]] = {1: (33,), 2: (13, 10), 3: (7, 6, 9)}
CHANNELS = 8

Build = Callable[[SpatialDims], nn.Module]
Call = Callable[[nn.Module, Tensor], Tensor]
ExpectedShape = Callable[[tuple[int, ...]], tuple[int, ...]]

DRAWS = 8  # of weights and inputs, before a parameter counts as unreached (a ReLU may be silent by chance)
JITTER = 0.1  # moves layer scales and the like away from their zeros; grows from draw to draw


def same_shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    """What gates and adns return."""
    return shape


def strided(c_out: int, stride: int = 1) -> ExpectedShape:
    """What mixers return: (B, c_out, *ceil(S / stride))."""
    return lambda shape: (shape[0], c_out, *(-(-size // stride) for size in shape[2:]))


def floored(c_out: int, stride: int) -> ExpectedShape:
    """What pools return: (B, c_out, *floor(S / stride))."""
    return lambda shape: (shape[0], c_out, *(size // stride for size in shape[2:]))


def logits(num_classes: int) -> ExpectedShape:
    """What heads return: (B, K)."""
    return lambda shape: (shape[0], num_classes)


def plainly(plug: nn.Module, x: Tensor) -> Tensor:
    return plug(x)


def last_of_two_maps(head: nn.Module, x: Tensor) -> Tensor:
    """Call a head built for channels [4, C] with two maps."""
    return head([x[:, :4], x])


class Called(nn.Module):
    """A plug together with the way it is called."""

    def __init__(self, plug: nn.Module, call: Call) -> None:
        super().__init__()
        self.plug = plug
        self.call = call

    def forward(self, x: Tensor) -> Tensor:
        return self.call(self.plug, x)


def check_plug(
    build: Build,
    spatial_dims: SpatialDims,
    *,
    channels: int = CHANNELS,
    size: tuple[int, ...] | None = None,
    expected: ExpectedShape = same_shape,
    serves: tuple[int, ...] = (1, 2, 3),
    call: Call = plainly,
    no_export: str = "",
    atol: float = 1e-5,
) -> None:
    """Shape, gradients, repeatability, independence of the batch's rows, state dict, export."""
    if spatial_dims not in serves:
        check_refusal(build, spatial_dims)
        return
    x = torch.randn(2, channels, *(size or SIZES[spatial_dims]))
    plug = Called(build(spatial_dims), call)
    check_shape(plug, x, expected(tuple(x.shape)))
    check_gradients(plug, x)
    check_weights_carried_over(plug, Called(build(spatial_dims), call), x)
    check_rows_are_independent(plug, x, atol)
    if not no_export:
        check_export(plug, x, atol)


def check_refusal(build: Build, spatial_dims: SpatialDims) -> None:
    with pytest.raises(ValueError, match=rf"spatial_dims={spatial_dims}\b"):
        build(spatial_dims)


def check_shape(plug: nn.Module, x: Tensor, expected: tuple[int, ...]) -> None:
    """The shape, in training and evaluation; input left as it was."""
    before = x.clone()
    for mode in (True, False):
        y = plug.train(mode)(x)
        assert tuple(y.shape) == expected, f"shape {tuple(y.shape)}, expected {expected}"
        assert y.dtype == x.dtype, f"dtype {y.dtype}, expected {x.dtype}"
        assert torch.isfinite(y).all(), "the output is not finite"
    assert torch.equal(x, before), "the plug changed its input in place"


def check_gradients(plug: nn.Module, x: Tensor) -> None:
    """Finite everywhere, and not zero for the input and at least one value of each parameter."""
    missed = {"input", *(name for name, p in plug.named_parameters() if p.requires_grad)}
    for draw in range(1, DRAWS + 1):
        drawn = copy.deepcopy(plug).eval()
        with torch.no_grad():
            for parameter in drawn.parameters():
                parameter.add_(draw * JITTER * torch.randn_like(parameter))
        means = torch.randn(*x.shape[:2], *[1] * (x.ndim - 2))  # gates see little else
        inputs = (torch.randn_like(x) + means).requires_grad_()
        y = drawn(inputs)
        (y * torch.randn_like(y)).sum().backward()  # a plain sum of normalised values would be constant
        tensors = {"input": inputs, **dict(drawn.named_parameters())}
        for name in tuple(missed):
            gradient = tensors[name].grad
            if gradient is not None:
                assert torch.isfinite(gradient).all(), f"gradient of {name} is not finite"
                if gradient.abs().max() > 0:
                    missed.remove(name)
        if not missed:
            return
    raise AssertionError(f"no gradient reaches {', '.join(sorted(missed))}")


def check_weights_carried_over(plug: nn.Module, other: nn.Module, x: Tensor) -> None:
    """Evaluation repeats itself, and a second module with the state of the first does the same."""
    plug.train()(x)  # moves running statistics
    other.load_state_dict(plug.state_dict())
    plug.eval(), other.eval()
    with torch.no_grad():
        y = plug(x)
        assert torch.equal(plug(x), y), "evaluation twice differs"
        assert torch.equal(other(x), y), "the state dict does not hold all that decides the output"


def check_rows_are_independent(plug: nn.Module, x: Tensor, atol: float) -> None:
    plug.eval()
    with torch.no_grad():
        one_by_one = torch.cat([plug(row[None]) for row in x])
        torch.testing.assert_close(plug(x), one_by_one, rtol=1e-5, atol=atol)


def check_export(plug: nn.Module, x: Tensor, atol: float) -> None:
    plug.eval()
    with torch.no_grad():
        exported = torch.export.export(plug, (x,)).module()
        torch.testing.assert_close(exported(x), plug(x), rtol=1e-5, atol=atol)
