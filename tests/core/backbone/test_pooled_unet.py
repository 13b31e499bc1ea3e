"""The pooled U-Net: counts, sizes, and maps that join late."""

from __future__ import annotations

import pytest
import torch

from tessera.core.backbone.pooled_unet import PooledUNet


def test_each_further_map_costs_one_kernel_of_the_last_block() -> None:
    def count(extra: int) -> int:
        return sum(p.numel() for p in PooledUNet(1, extra_channels=extra).parameters())

    assert count(0) == 4_117_553 - 17  # the sheet's count without its head
    assert count(1) - count(0) == 432


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_maps_halve_and_come_back_in_every_number_of_axes(dims: int) -> None:
    net = PooledUNet(2, widths=(4, 8, 16), extra_channels=1, spatial_dims=dims)  # type: ignore[arg-type]
    side = (8,) * dims
    seen, ups = net(torch.randn(2, 2, *side), torch.randn(2, 1, *side))
    assert [tuple(m.shape[1:2]) + tuple(m.shape[2:3]) for m in seen] == [
        (4, 8),
        (8, 4),
        (16, 2),
        (8, 4),
        (4, 8),
    ]
    assert ups[-1].shape == (2, 4, *side)


def test_a_further_map_reaches_the_last_block_only() -> None:
    net = PooledUNet(1, widths=(4, 8), extra_channels=1).eval()
    x, extra = torch.randn(1, 1, 4, 4, 4), torch.randn(1, 1, 4, 4, 4)
    with torch.no_grad():
        one, other = net(x, extra)[0], net(x, extra + torch.randn_like(extra))[0]
    assert [torch.equal(a, b) for a, b in zip(one, other, strict=True)] == [True, True, False]


def test_recalibration_follows_each_block_and_feeds_the_next() -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    asked: list[tuple[int, int]] = []

    def gate(channels: int, level: int) -> torch.nn.Module:
        asked.append((channels, level))
        return Twice()

    net = PooledUNet(1, widths=(4, 8, 16), recalibrate=gate)
    assert asked == [(4, 0), (8, 1), (16, 2), (8, 1), (4, 0)]
    seen, ups = net(torch.randn(1, 1, 4, 4, 8))
    assert torch.equal(ups[-1], 2 * seen[-1])


@pytest.mark.parametrize(("shape", "extra"), [((1, 1, 6, 8, 8), 0), ((1, 1, 8, 8, 8), 2)])
def test_what_does_not_fit_is_refused(shape: tuple[int, ...], extra: int) -> None:
    net = PooledUNet(1, widths=(4, 8, 16))
    with pytest.raises(ValueError, match="multiples of 4" if not extra else "2 further maps"):
        net(torch.zeros(shape), torch.zeros(1, extra, *shape[2:]) if extra else None)
    with pytest.raises(ValueError, match="one side of 8"):
        net(torch.zeros(1, 1, 4, 4, 4))
    with pytest.raises(ValueError, match="even numbers"):
        PooledUNet(1, widths=(4, 7))
