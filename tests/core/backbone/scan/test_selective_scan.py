"""The selective scan against closed forms, worked examples and its definition step by step."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tessera.core.backbone.scan import loop, selective_scan, selective_scan_reference
from tessera.core.backbone.scan.doubling import scan_doubling

Scan = Callable[..., Tensor]
Inputs = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]


def doubled(u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
    return scan_doubling(u, delta, A, *(m if m.ndim == 4 else m[:, None] for m in (B, C)))


SCANS = pytest.mark.parametrize("scan", [selective_scan, selective_scan_reference, doubled])


def example(
    *, batch: int = 2, channels: int = 6, order: int = 3, length: int = 37, groups: int | None = None
) -> Inputs:
    matrix = (batch, order, length) if groups is None else (batch, groups, order, length)
    return (
        torch.randn(batch, channels, length),
        0.5 * torch.rand(batch, channels, length),
        -2 * torch.rand(channels, order),
        torch.randn(matrix),
        torch.randn(matrix),
    )


def results(scan: Scan, inputs: Inputs, **options: Any) -> list[Tensor]:
    """Output and gradients of all inputs and options."""
    inputs = tuple(value.clone().requires_grad_() for value in inputs)  # type: ignore[assignment]
    options = {k: v.clone().requires_grad_() if isinstance(v, Tensor) else v for k, v in options.items()}
    tensors = [*inputs, *(value for value in options.values() if isinstance(value, Tensor))]
    y = scan(*inputs, **options)
    weights = torch.linspace(-1, 2, y.numel()).reshape(y.shape)
    return [y.detach(), *torch.autograd.grad((y * weights).sum(), tensors, materialize_grads=True)]


@SCANS
def test_half_of_the_state_remains_at_each_step(scan: Scan) -> None:
    one = torch.ones(1, 1, 4)
    y = scan(torch.tensor([[[1.0, 2, 3, 4]]]), one, torch.tensor([[math.log(0.5)]]), one, one)
    torch.testing.assert_close(y, torch.tensor([[[1, 2.5, 4.25, 6.125]]]))


@pytest.mark.parametrize("scan", [selective_scan, selective_scan_reference])
def test_step_size_drives_decay_and_input_and_the_skip_adds_the_input(scan: Scan) -> None:
    u, one = torch.tensor([[[1.0, 0, 2]]]), torch.ones(1, 1, 3)
    y = scan(u, math.log(2) * one, -torch.ones(1, 1), one, one, D=torch.ones(1))
    torch.testing.assert_close(y, torch.tensor([[[1.69314718, 0.34657359, 3.55958116]]]))


@SCANS
def test_impulse_decays_as_an_exponential_of_the_sum_of_steps(scan: Scan) -> None:
    u = torch.zeros(1, 1, 50)
    u[..., 0] = 1
    delta = torch.linspace(0.1, 0.3, 50).reshape(1, 1, 50)
    rates = torch.tensor([[-0.5, -2.0]])
    B, C = torch.tensor([1.0, 3.0]), torch.tensor([2.0, -1.0])
    y = scan(u, delta, rates, *(m[None, :, None].expand(1, 2, 50) for m in (B, C)))
    since = (delta.cumsum(-1) - delta[..., 0]).flatten()
    expected = 0.1 * (2 * torch.exp(-0.5 * since) - 3 * torch.exp(-2 * since))
    torch.testing.assert_close(y.flatten(), expected)


@settings(max_examples=25, deadline=None)
@given(
    batch=st.integers(1, 3),
    width=st.integers(1, 4),
    groups=st.sampled_from([None, 1, 2, 3]),
    order=st.integers(1, 5),
    length=st.integers(1, 70),
)
def test_all_forms_and_their_gradients_agree(
    batch: int, width: int, groups: int | None, order: int, length: int
) -> None:
    torch.manual_seed(length)
    inputs = example(batch=batch, channels=width * (groups or 1), order=order, length=length, groups=groups)
    expected = results(selective_scan_reference, inputs)
    for scan in (selective_scan, doubled):
        for found, wanted in zip(results(scan, inputs), expected, strict=True):
            torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_options_and_their_gradients_agree_with_the_reference() -> None:
    options = {
        "D": torch.randn(6),
        "z": torch.randn(2, 6, 37),
        "delta_bias": torch.randn(6),
        "delta_softplus": True,
    }
    found, wanted = (
        results(scan, example_with_seed(), **options) for scan in (selective_scan, selective_scan_reference)
    )
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def example_with_seed() -> Inputs:
    torch.manual_seed(1)
    return example()


def test_gradients_agree_with_finite_differences() -> None:
    inputs = tuple(v.double().requires_grad_() for v in example(channels=4, order=2, length=20, groups=2))
    assert torch.autograd.gradcheck(selective_scan, inputs)  # type: ignore[no-untyped-call]


def test_future_does_not_reach_the_past() -> None:
    u, *others = example()
    changed = u.clone()
    changed[..., 20:] += 1
    before, after = selective_scan(u, *others), selective_scan(changed, *others)
    assert torch.equal(before[..., :20], after[..., :20])
    assert not torch.equal(before[..., 20:], after[..., 20:])


def test_fast_decay_over_a_long_sequence_stays_finite() -> None:
    u, delta, A, B, C = example(length=300)
    for found in results(selective_scan, (u, 100 * delta, 10 * A, B, C)):
        assert torch.isfinite(found).all()


@pytest.mark.parametrize("order", [4, 64])
def test_kept_for_the_backward_pass_is_less_than_the_states(order: int) -> None:
    kept: dict[int, int] = {}

    def count(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor.numel()
        return tensor

    u, delta, A, B, C = (v.requires_grad_() for v in example(channels=8, order=order, length=4096))
    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        selective_scan(u, delta, A, B, C)
    inputs = sum(v.numel() for v in (u, delta, A, B, C))
    states = u.numel() * order
    assert sum(kept.values()) <= inputs + states / 60  # one state in 64 steps


class LargestTensor(TorchDispatchMode):
    """Remembers the size of the largest tensor that an operation gave."""

    numel = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = func(*args, **(kwargs or {}))
        for tensor in found if isinstance(found, tuple | list) else [found]:
            if isinstance(tensor, Tensor):
                self.numel = max(self.numel, tensor.numel())
        return found


def largest_tensors(length: int, *, batch: int) -> tuple[int, int]:
    """Values of the largest tensor that the forward and the backward pass make."""
    u, delta, A, B, C = example(batch=batch, channels=16, order=32, length=length, groups=1)
    with LargestTensor() as forward:
        y, before = loop.scan_forward(u, delta, A, B, C)
    with LargestTensor() as backward:
        loop.scan_backward(torch.ones_like(y), (u, delta, A, B, C), before)
    return forward.numel, backward.numel


def test_no_operation_makes_a_tensor_of_all_states() -> None:
    wide = 2 * loop.FEW_VALUES // (16 * 32)  # a batch whose pieces follow each other
    assert 0 < max(largest_tensors(1024, batch=wide)) <= wide * 16 * 32 * 1024 / 16
    small, large = (largest_tensors(length, batch=1)[0] for length in (1024, 4096))
    assert small <= 16 * 32 * 1024 / 3
    assert large <= 2.1 * small, "four times the length takes twice the room"


class Whole(nn.Module):
    def forward(self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor) -> Tensor:
        return selective_scan(u, delta, A, B, C, delta_softplus=True)


def test_exported_program_is_plain_operations_with_the_same_result() -> None:
    inputs = example(groups=3)
    program = torch.export.export(Whole(), inputs)
    targets = [str(node.target) for node in program.graph.nodes if node.op == "call_function"]
    assert targets
    assert all(target.startswith("aten.") for target in targets)
    assert len(targets) < 150
    torch.testing.assert_close(program.module()(*inputs), Whole()(*inputs), rtol=1e-4, atol=1e-4)


def test_operator_keeps_the_rules_of_torch_library() -> None:
    inputs = tuple(value.requires_grad_() for value in example(groups=2))
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(torch.ops.tessera.selective_scan.default, inputs, test_utils=checks)


def test_shape_is_known_without_values() -> None:
    assert selective_scan(*(value.to("meta") for value in example())).shape == (2, 6, 37)


def test_half_precision_and_autocast_keep_the_state_in_float32() -> None:
    inputs = example()
    narrow = tuple(value.bfloat16() for value in inputs)
    y = selective_scan(*narrow)
    assert y.dtype == torch.bfloat16
    wide = selective_scan_reference(*(value.float() for value in narrow))
    torch.testing.assert_close(y, wide.bfloat16(), rtol=1e-2, atol=1e-5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(selective_scan(*inputs), selective_scan_reference(*inputs))


@pytest.mark.parametrize(
    ("place", "shape", "complaint"),
    [
        (0, (2, 6), r"u \(2, 6\)"),
        (1, (2, 6, 36), r"delta \(2, 6, 36\); give both as \(B, D, L\)"),
        (2, (5, 3), r"A \(5, 3\); give \(6, N\)"),
        (3, (2, 4, 37), r"give both as \(2, 3, 37\)"),
        (4, (2, 3, 36), "give both as"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(place: int, shape: tuple[int, ...], complaint: str) -> None:
    inputs = list(example())
    inputs[place] = torch.ones(shape)
    with pytest.raises(ValueError, match=complaint):
        selective_scan(*inputs)


def test_groups_that_do_not_divide_the_channels_are_refused() -> None:
    u, delta, A, B, C = example()
    with pytest.raises(ValueError, match="groups G that divides 6"):
        selective_scan(u, delta, A, B[:, None].expand(2, 4, 3, 37), C[:, None].expand(2, 4, 3, 37))
