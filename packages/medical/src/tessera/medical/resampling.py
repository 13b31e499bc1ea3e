"""Volumes on another grid over the same extent: one small matrix an axis, applied as matrix products.

Cubic splines agree with ``skimage.transform.resize(order=3, mode="edge", anti_aliasing=False)`` up to
rounding: prefilter, interpolation and the repeated edge together are one linear map an axis. Its rows fade by
0.27 an element, so that a short block of rows sees few elements.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Order = Literal[0, 1, 3]
Weights = npt.NDArray[np.float64]

EDGE = 12  # repeats of the edge before the spline is fitted, as in scipy.ndimage.zoom
ANISOTROPIC = 3.0  # nnU-Net: thicker voxels than this many times the finest are not smoothed across
BLOCK = 16  # rows of a matrix applied at once
TIE = 1e-5  # maps closer than this are equal up to rounding
FADED = 1e-8  # smaller weights change nothing in float32


def resample(image: Tensor, shape: Sequence[int], *, orders: Sequence[Order] = (3, 3, 3)) -> Tensor:
    """The image (C, *S) at ``shape`` elements over the same extent, outer faces on outer faces.

    Args:
        image: Float32, any device.
        shape: Number of elements along each axis of the result.
        orders: Spline of each axis: 0 the nearest element, 1 linear, 3 cubic. Cubic splines overshoot; the
            result is cut to the range of each channel, or of each slice across axes of order 0.
    """
    _check(image, shape, orders)
    smooth = [axis for axis, order in enumerate(orders, 1) if order != 0]
    limits = None
    if any(orders[axis - 1] == 3 and image.shape[axis] != shape[axis - 1] for axis in smooth):
        limits = (image.amin(smooth, keepdim=True), image.amax(smooth, keepdim=True))
    for axis in sorted(smooth, key=lambda axis: shape[axis - 1] / image.shape[axis]):  # least work first
        if image.shape[axis] != shape[axis - 1]:
            weights = axis_weights(image.shape[axis], shape[axis - 1], orders[axis - 1])
            image = _along(image, axis, weights)
    if limits is not None:
        image = image.clamp_(*limits)
    for axis, order in enumerate(orders, 1):
        if order == 0 and image.shape[axis] != shape[axis - 1]:
            index = torch.from_numpy(nearest(image.shape[axis], shape[axis - 1])).to(image.device)
            image = image.index_select(axis, index)
    return image


def resample_labels(labels: Tensor, shape: Sequence[int], *, orders: Sequence[Order] = (1, 1, 1)) -> Tensor:
    """The class of each element at ``shape``: the largest of the classes' resampled maps.

    One class is held at a time, and only where it can reach; of equal maps the higher class
    wins, as in nnU-Net, so that a structure rather grows than shrinks.

    Args:
        labels: Whole numbers (*S), any integer type.
        shape: Number of elements along each axis of the result.
        orders: Spline of each axis, 0 or 1.
    """
    _check(labels[None], shape, orders)
    if tuple(labels.shape) == tuple(shape):
        return labels.clone()
    low, high = int(labels.min()), int(labels.max())
    best = torch.zeros(tuple(shape), device=labels.device)
    found = torch.full(tuple(shape), low, dtype=labels.dtype, device=labels.device)
    for name in range(low, high + 1):
        mask = labels == name
        if mask.any():
            share, box = _reach(mask, shape, orders)
            best[box] = torch.maximum(best[box], share)
            found[box] = found[box].masked_fill(share >= (best[box] - TIE).clamp_(min=TIE), name)
    return found


def orders_for(
    spacing: Sequence[float], new_spacing: Sequence[float], *, order: Order = 3
) -> tuple[Order, ...]:
    """The spline of each axis: thick voxels are copied, not smoothed across (nnU-Net's rule).

    Args:
        spacing: Of the image.
        new_spacing: Of the result.
        order: Of the other axes.
    """
    for steps in (spacing, new_spacing):
        if max(steps) / min(steps) > ANISOTROPIC:
            thick = [step == max(steps) for step in steps]
            if sum(thick) == 1:
                return tuple(0 if is_thick else order for is_thick in thick)
            break
    return (order,) * len(spacing)


@lru_cache(maxsize=16)
def axis_weights(old: int, new: int, order: Order) -> Weights:
    """The linear map (new, old) that resamples one axis over the same extent."""
    if order == 0:
        return np.eye(old)[nearest(old, new)]
    edge = EDGE if order == 3 else 1
    places = (np.arange(new) + 0.5) * old / new - 0.5 + edge
    first = np.floor(places).astype(int)
    t = (places - first)[:, None]
    if order == 1:
        values, offset = np.hstack([1 - t, t]), 0
    else:
        values, offset = _cubic(t), -1
    rows = np.zeros((new, old + 2 * edge))
    columns = first[:, None] + offset + np.arange(values.shape[1])
    np.put_along_axis(rows, columns, values, axis=1)
    if order == 3:
        rows = rows @ _prefilter(old + 2 * edge)
    repeated = np.clip(np.arange(-edge, old + edge), 0, old - 1)
    folded = np.zeros((new, old))
    np.add.at(folded.T, repeated, rows.T)
    return folded


def nearest(old: int, new: int) -> npt.NDArray[np.int64]:
    """For each of ``new`` elements the one of ``old`` in which its centre lies."""
    return np.clip((2 * np.arange(new) + 1) * old // (2 * new), 0, old - 1)


def _cubic(t: Weights) -> Weights:
    """Values of the cubic B-spline at 1 + t, t, 1 - t and 2 - t."""
    return (
        np.hstack([(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * (1 - t) ** 2 + 3 * (1 - t) ** 3, t**3]) / 6
    )


def _prefilter(n: int) -> Weights:
    """Samples (n,) to coefficients of the cubic spline through them, mirrored at its ends."""
    spline = np.diag(np.full(n, 4.0)) + np.diag(np.ones(n - 1), 1) + np.diag(np.ones(n - 1), -1)
    spline[0, 1] = spline[-1, -2] = 2.0
    return np.asarray(np.linalg.inv(spline / 6), dtype=np.float64)


def _along(image: Tensor, axis: int, weights: Weights) -> Tensor:
    """Apply a linear map (new, old) to one axis, block by block of the result."""
    new, old = weights.shape
    before, after = image.shape[:axis], image.shape[axis + 1 :]
    last = not after
    # the axis becomes the rows of a matrix whose columns are all faster axes; the last axis is the columns
    flat = image.reshape(-1, old) if last else image.reshape(before.numel(), old, after.numel())
    out = flat.new_empty((len(flat), new) if last else (len(flat), new, after.numel()))
    for start in range(0, new, BLOCK):
        block = weights[start : start + BLOCK]
        used = np.flatnonzero(np.abs(block).max(0) > FADED)
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 0)
        part = torch.from_numpy(np.ascontiguousarray(block[:, low:high], dtype=np.float32)).to(image)
        if last:
            out[:, start : start + BLOCK] = flat[:, low:high] @ part.T
        else:
            out[:, start : start + BLOCK] = part @ flat[:, low:high]
    return out.reshape(*before, new, *after)


def _reach(mask: Tensor, shape: Sequence[int], orders: Sequence[Order]) -> tuple[Tensor, tuple[slice, ...]]:
    """A mask's resampled map where it is not zero, and that box of the result."""
    maps, box = [], []
    for axis, (new, order) in enumerate(zip(shape, orders, strict=True)):
        line = mask
        for other in range(mask.ndim - 1, -1, -1):
            line = line if other == axis else line.any(other)
        source = _span(line.numpy(force=True))
        weights = axis_weights(mask.shape[axis], new, order)[:, source]
        result = _span(weights.max(1, initial=0.0) > 0)
        mask = mask.narrow(axis, source.start, source.stop - source.start)
        maps.append(weights[result])
        box.append(result)
    map_ = mask.float()
    for axis, weights in enumerate(maps):
        map_ = _along(map_, axis, weights)
    return map_, tuple(box)


def _span(line: npt.NDArray[np.bool_]) -> slice:
    """From the first to the last that is true."""
    true = np.flatnonzero(line)
    return slice(int(true[0]), int(true[-1]) + 1) if len(true) else slice(0, 0)


def _check(image: Tensor, shape: Sequence[int], orders: Sequence[Order]) -> None:
    if not image.ndim - 1 == len(shape) == len(orders) or min(shape) < 1 or 0 in image.shape:
        raise ValueError(
            f"cannot resample {tuple(image.shape)} to {tuple(shape)} with orders {tuple(orders)}: "
            "expected (C, *S), one size and one order an axis, and no empty axis"
        )
