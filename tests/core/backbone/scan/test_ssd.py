"""The chunked form of the scan with one decay per head against closed forms and the recursion."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tessera.core.backbone.scan import selective_scan_reference, ssd_reference, ssd_scan
from tessera.core.backbone.scan.ssd import segment_sums

Inputs = tuple[Tensor, Tensor, Tensor, Tensor]


def example(
    *, batch: int = 2, length: int = 37, heads: int = 4, width: int = 3, order: int = 5, groups: int = 2
) -> Inputs:
    return (
        torch.randn(batch, length, heads, width),
        -torch.rand(batch, length, heads),
        torch.randn(batch, length, groups, order),
        torch.randn(batch, length, groups, order),
    )


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 7])
def test_half_of_the_state_remains_at_each_step(chunk: int) -> None:
    x = torch.tensor([1.0, 2, 3, 4]).reshape(1, 4, 1, 1)
    decay, one = torch.full((1, 4, 1), math.log(0.5)), torch.ones(1, 4, 1, 1)
    expected = torch.tensor([1, 2.5, 4.25, 6.125])
    torch.testing.assert_close(ssd_scan(x, decay, one, one, chunk=chunk).flatten(), expected)
    torch.testing.assert_close(ssd_reference(x, decay, one, one).flatten(), expected)


def test_segment_sums_add_the_values_between_two_places() -> None:
    inf = math.inf
    expected = [[0, -inf, -inf], [2, 0, -inf], [5, 3, 0]]
    assert segment_sums(torch.tensor([1.0, 2, 3])).tolist() == expected


def test_small_segments_after_a_large_one_keep_their_digits() -> None:
    sums = segment_sums(torch.tensor([-1e8, -1e-3, -2e-3]))
    torch.testing.assert_close(sums[2, 0], torch.tensor(-3e-3))


def test_scan_with_the_same_rate_in_each_channel_is_the_selective_scan() -> None:
    u, delta, rate = torch.randn(2, 6, 37), torch.rand(2, 1, 37), -0.7
    B, C = torch.randn(2, 3, 37), torch.randn(2, 3, 37)
    expected = selective_scan_reference(u, delta.expand(2, 6, 37), torch.full((6, 3), rate), B, C)
    x = (delta * u).transpose(1, 2)[:, :, None]
    y = ssd_scan(x, (rate * delta).transpose(1, 2), *(m.transpose(1, 2)[:, :, None] for m in (B, C)))
    torch.testing.assert_close(y[:, :, 0].transpose(1, 2), expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 70), groups=st.sampled_from([1, 2, 4]), chunk=st.integers(1, 40))
def test_chunks_and_their_gradients_agree_with_the_recursion(length: int, groups: int, chunk: int) -> None:
    torch.manual_seed(length)
    inputs = tuple(value.requires_grad_() for value in example(length=length, groups=groups))
    pairs = []
    for y in (ssd_scan(*inputs, chunk=chunk), ssd_reference(*inputs)):
        weights = torch.linspace(-1, 2, y.numel()).reshape(y.shape)
        pairs.append([y, *torch.autograd.grad((y * weights).sum(), inputs)])
    for found, wanted in zip(*pairs, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_gradients_agree_with_finite_differences() -> None:
    inputs = tuple(v.double().requires_grad_() for v in example(length=7, heads=2, width=2, order=2))
    assert torch.autograd.gradcheck(lambda *v: ssd_scan(*v, chunk=3), inputs)  # type: ignore[no-untyped-call]


def test_strong_decay_over_a_long_sequence_stays_finite() -> None:
    x, decay, B, C = (value.requires_grad_() for value in example(length=300))
    y = ssd_scan(x, 200 * decay, B, C)
    y.sum().backward()  # type: ignore[no-untyped-call]
    for value in (y, x.grad, B.grad, C.grad):
        assert value is not None
        assert torch.isfinite(value).all()


def test_autocast_does_not_narrow_the_state() -> None:
    inputs = example()
    expected = ssd_reference(*inputs)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(ssd_scan(*inputs), expected, rtol=1e-4, atol=1e-4)


def test_shapes_that_do_not_fit_are_refused() -> None:
    x, decay, B, C = example()
    with pytest.raises(ValueError, match=r"log_decay \(2, 36, 4\)"):
        ssd_scan(x, decay[:, 1:], B, C)
    with pytest.raises(ValueError, match="number of groups G that divides 4"):
        ssd_scan(x, decay, B[:, :, :1].expand(2, 37, 3, 5), C[:, :, :1].expand(2, 37, 3, 5))
