"""What every network of stages must do, and how its numbers are counted."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tessera.core.backbone.staged_unet import ResidualBlock, StagedUNet

Build = Callable[..., StagedUNet]
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def parameter_count(build: Build, *args: int, **options: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in build(*args, **options).parameters())


def memory_proxy(network: StagedUNet, x: Tensor) -> int:
    """Values that leave convolutions; of a residual block's shortcut its result, whatever it consists of."""
    shortcuts = [m.shortcut for m in network.modules() if isinstance(m, ResidualBlock) and len(m.shortcut)]
    inside = {id(part) for shortcut in shortcuts for part in shortcut.modules()}
    counted = [m for m in network.modules() if isinstance(m, CONVOLUTIONS) and id(m) not in inside]
    sizes: list[int] = []
    for module in (*counted, *shortcuts):
        module.register_forward_hook(lambda _module, _input, output: sizes.append(output.numel()))
    with torch.no_grad():
        network.eval()(x)
    return sum(sizes)


def check_network(build: Build, size: tuple[int, ...], options: dict[str, Any], *, channels: int = 2) -> None:
    """Shapes, gradients, repeatability, independence of the batch's rows, state dict, export."""
    network = build(channels, 3, **options)
    x = torch.randn(2, channels, *size)
    check_list_of_logits(network, x)
    check_gradients(network, x)
    other = build(channels, 3, **options, deep_supervision=False).eval()
    other.load_state_dict(network.state_dict())
    network.eval()
    with torch.no_grad():
        y = network(x)
        assert y.shape == (2, 3, *size)
        assert torch.equal(network(x), y), "evaluation twice differs"
        assert torch.equal(other(x), y), "the state dict does not hold all that decides the output"
        one_by_one = torch.cat([network(row[None]) for row in x])
        torch.testing.assert_close(y, one_by_one, rtol=1e-4, atol=1e-4)
        exported = torch.export.export(network, (x,)).module()
        torch.testing.assert_close(exported(x), y, rtol=1e-4, atol=1e-4)
        assert other.train()(x).shape == y.shape, "a list without deep supervision"


def check_list_of_logits(network: StagedUNet, x: Tensor) -> None:
    """One tensor a stage of the decoder, the input's size first, then divided by the strides."""
    before = x.clone()
    logits = network.train()(x)
    assert torch.equal(x, before), "the input was changed in place"
    strides = network.topology.strides[:-1]
    factors = [tuple(map(math.prod, zip(*strides[: i + 1], strict=True))) for i in range(len(strides))]
    expected = [tuple(n // f for n, f in zip(x.shape[2:], factor, strict=True)) for factor in factors]
    assert [tuple(y.shape) for y in logits] == [(2, 3, *sizes) for sizes in expected]


def check_gradients(network: StagedUNet, x: Tensor) -> None:
    """Finite, and not zero, for the input and every parameter (biases before a norm: by rounding only)."""
    with torch.no_grad():
        for parameter in network.parameters():  # norms that begin at zero would let nothing through
            parameter.add_(0.1 * torch.randn_like(parameter))
    x = x.clone().requires_grad_()
    torch.stack([(y * torch.randn_like(y)).sum() for y in network.train()(x)]).sum().backward()
    for name, tensor in {"input": x, **dict(network.named_parameters())}.items():
        assert tensor.grad is not None, f"no gradient reaches {name}"
        assert tensor.grad.isfinite().all(), f"gradient of {name} is not finite"
        assert tensor.grad.abs().max() > 0, f"gradient of {name} is zero"
