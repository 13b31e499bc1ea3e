"""Changes of batches of pictures (B, C, F, T), frequencies and frames, each picture by its own amount."""

from __future__ import annotations

import math

import torch
from torch import Tensor

WARPED = 0.6  # share of the rows that a vocal tract's factor moves in proportion (Jaitly and Hinton 2013)


def resampled(picture: Tensor, rows: Tensor, frames: Tensor) -> Tensor:
    """(B, C, F, T) read at places (B, F, T) between its rows and frames; beyond an edge the edge repeats."""
    height, width = picture.shape[-2:]

    def neighbours(places: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
        places = places.to(picture.device).clamp(0, size - 1)
        low = places.floor()
        return low.long(), (low.long() + 1).clamp_max(size - 1), (places - low)[:, None]

    top, bottom, down = neighbours(rows, height)
    left, right, along = neighbours(frames, width)
    flat = picture.flatten(2)

    def at(row: Tensor, frame: Tensor) -> Tensor:
        index = (row * width + frame).flatten(1)[:, None].expand(-1, picture.shape[1], -1)
        return flat.gather(2, index).view_as(picture)

    above = torch.lerp(at(top, left), at(top, right), along)
    below = torch.lerp(at(bottom, left), at(bottom, right), along)
    return torch.lerp(above, below, down)


def moved(picture: Tensor, rows: Tensor, frames: Tensor) -> Tensor:
    """(B, C, F, T) up by ``rows`` (B,) and to later times by ``frames`` (B,), whole numbers or not."""
    own_rows, own_frames = _places(picture)
    return resampled(picture, own_rows - _each(rows, picture), own_frames - _each(frames, picture))


def turned_round(picture: Tensor, share: Tensor) -> Tensor:
    """(B, C, F, T) moved in a circle to later times by a ``share`` (B,) of its length."""
    frames = picture.shape[-1]
    shift = (share.to(picture.device) * frames).round().long()
    source = (torch.arange(frames, device=picture.device) - shift[:, None]) % frames
    return picture.gather(-1, source[:, None, None].expand_as(picture))


def warped(picture: Tensor, factor: Tensor) -> Tensor:
    """(B, C, F, T) of a vocal tract whose resonances lie ``factor`` (B,) times as high.

    The lower rows move in proportion, the others on a straight line that leaves the last row where it is.
    """
    rows, frames = _places(picture)
    last = picture.shape[-2] - 1
    factor = _each(factor, picture)
    edge = WARPED * last * factor.clamp_max(1.0)  # of the new picture; its source is edge / factor
    upper = last - (last - edge / factor) / (last - edge) * (last - rows)
    return resampled(picture, torch.where(rows <= edge, rows / factor, upper), frames)


def stretched(picture: Tensor, factor: Tensor) -> Tensor:
    """(B, C, F, T) at ``factor`` (B,) times the pace, about its middle frame."""
    rows, frames = _places(picture)
    middle = (picture.shape[-1] - 1) / 2
    return resampled(picture, rows, middle + (frames - middle) * _each(factor, picture))


def rotated(picture: Tensor, degrees: Tensor) -> Tensor:
    """(B, C, F, T) turned about its middle by an angle (B,), towards lower rows at later frames."""
    rows, frames = _places(picture)
    up, along = (picture.shape[-2] - 1) / 2, (picture.shape[-1] - 1) / 2
    angle = _each(degrees, picture) * (math.pi / 180)
    cosine, sine = angle.cos(), angle.sin()
    y, x = rows - up, frames - along
    return resampled(picture, up + y * cosine + x * sine, along + x * cosine - y * sine)


def blended(picture: Tensor, other: Tensor, share: Tensor) -> Tensor:
    """(B, ...) with a ``share`` (B,) of another; of pictures or of sounds."""
    return torch.lerp(picture, other, share.to(picture)[:, *[None] * (picture.ndim - 1)])


def equalised(picture: Tensor, curve: Tensor) -> Tensor:
    """(B, C, F, T) plus a curve over its rows: the sum of ``curve`` (B, K) times cos(pi k row / last row)."""
    rows = torch.linspace(0, 1, picture.shape[-2], device=picture.device)
    orders = torch.arange(1, curve.shape[1] + 1, device=picture.device)
    gain = curve.to(picture) @ torch.cos(math.pi * orders[:, None] * rows)
    return picture + gain[:, None, :, None]


def _places(picture: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (1, F, T) and frames (1, F, T) of each element."""
    height, width = picture.shape[-2:]
    rows = torch.arange(height, device=picture.device, dtype=torch.float32)[:, None].expand(height, width)
    frames = torch.arange(width, device=picture.device, dtype=torch.float32).expand(height, width)
    return rows[None], frames[None]


def _each(amount: Tensor, picture: Tensor) -> Tensor:
    return amount.to(picture.device, torch.float32)[:, None, None]
