"""Occlusion: what a network's answer loses when a window of the input is covered.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", ECCV 2014, arXiv 1311.2901.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, per_axis
from tessera.core.explain.grids import read_linearly
from tessera.core.explain.scoring import Activation, evaluating, scores_of

BATCH_SIZE = 32


def occlusion(
    network: nn.Module,
    input: Tensor,
    target_index: int | Tensor,
    *,
    window: int | tuple[int, ...],
    stride: int | tuple[int, ...] | None = None,
    fill: float | Tensor = 0.0,
    batch_size: int = BATCH_SIZE,
    activation: Activation | None = None,
) -> Tensor:
    """Input (B, c, *S) -> how much its parts speak for an output, (B, *S), in one, two or three dimensions.

    At the centre of each window stands the score of the input minus that of the input with the window
    filled, in all channels: positive where the window speaks for the output, negative where against it, in
    the score's unit. Windows begin at 0, stride, 2 stride ... of each axis, the last where it ends with the
    axis, so that every element is covered once or more. Between the centres the map is linear along each
    axis; beyond the outermost it is held. (MONAI's OcclusionSensitivity gives the score with the window
    filled itself, and for each element the average over the windows that cover it.) The network is in
    evaluation mode meanwhile.

    Args:
        network: (B, c, *S) -> raw output (B, K).
        input: The batch.
        target_index: Which output, or one for each row (B,).
        window: Size of the window, one or per axis; an axis shorter than it is covered whole.
        stride: From one window to the next, one or per axis, at most the window; half of it by default.
        fill: What stands in the window: a number, or a tensor that can be broadcast to the input, such as
            each channel's mean (B, c, 1, 1) or the blurred input.
        batch_size: Filled inputs that go through the network at once; memory follows from it alone.
        activation: Raw output -> what is explained; by default the raw output itself. Zeiler and Fergus took
            probabilities.
    """
    sizes = input.shape[2:]
    corners, widths = _windows(sizes, window, stride)
    filling = torch.as_tensor(fill, dtype=input.dtype, device=input.device).expand_as(input)
    chosen = torch.as_tensor(target_index, device=input.device).expand(len(input))
    covers = [_covers(c, w, n) for c, w, n in zip(corners, widths, sizes, strict=True)]
    covers = [cover.to(input.device) for cover in covers]
    grid = [len(c) for c in corners]
    windows = torch.arange(-1, math.prod(grid), device=input.device)  # -1 covers nothing
    drops = []
    with evaluating(network), torch.no_grad():
        for row, filled, index in zip(input, filling, chosen, strict=True):
            # each row by itself, so that its map does not depend on the rows beside it
            scores = []
            for numbers in torch.split(windows, batch_size):
                raw = network(torch.where(_boxes(numbers, covers)[:, None], filled, row))
                scores.append(scores_of(raw, index, activation))
            score = torch.cat(scores).float()
            drops.append((score[0] - score[1:]).reshape(grid))
    centres = [c + (w - 1) / 2 for c, w in zip(corners, widths, strict=True)]
    return read_linearly(torch.stack(drops), centres, sizes)


def _windows(
    sizes: Sequence[int], window: int | tuple[int, ...], stride: int | tuple[int, ...] | None
) -> tuple[list[Tensor], list[int]]:
    """For each axis the windows' first elements (N_i,), float64, and their width."""
    d: SpatialDims = len(sizes)  # type: ignore[assignment]
    wide = per_axis(d, window, name="window")
    steps = per_axis(d, stride, name="stride") if stride is not None else [max(1, w // 2) for w in wide]
    if any(step > w for step, w in zip(steps, wide, strict=True)):
        raise ValueError(
            f"occlusion: stride {stride} leaves elements between windows of {window} that are never covered; "
            "give at most the window"
        )
    widths = [min(w, size) for w, size in zip(wide, sizes, strict=True)]
    corners = []
    for size, width, step in zip(sizes, widths, steps, strict=True):
        regular = torch.arange(0, size - width, step, dtype=torch.float64)
        corners.append(torch.cat([regular, torch.tensor([size - width], dtype=torch.float64)]))
    return corners, widths


def _covers(corners: Tensor, width: int, size: int) -> Tensor:
    """Which elements of an axis each window covers, (N, size)."""
    place = torch.arange(size)
    return (place >= corners[:, None]) & (place < corners[:, None] + width)


def _boxes(numbers: Tensor, covers: Sequence[Tensor]) -> Tensor:
    """Numbers (M,) of windows, the last axis counted fastest -> what they cover, (M, *S); -1 nothing."""
    d = len(covers)
    box = (numbers >= 0).reshape(-1, *(1,) * d)
    places = torch.unravel_index(numbers.clamp_min(0), [len(cover) for cover in covers])
    for axis, (cover, place) in enumerate(zip(covers, places, strict=True)):
        box = box & cover[place].reshape(len(numbers), *(1,) * axis, -1, *(1,) * (d - axis - 1))
    return box
