"""What networks over pictures with rows of their own ask of their input (B, 1, F, T)."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from tessera.core.backbone.axis_norm import AxisNorm

InputNormAxis = Literal["frequency", "time", "none"]


def input_norm(owner: str, axis: InputNormAxis, *, rows: int, frames: int | None) -> nn.Module:
    """Batch norm of (B, 1, F, T) whose entries are the rows, or the frames, or none.

    Args:
        owner: The network, named in errors.
        axis: Whose entries are normalised one by one.
        rows: F.
        frames: T, for the time axis and for no other.
    """
    if axis not in ("frequency", "time", "none"):
        raise ValueError(f"{owner}: input_bn={axis!r} is not known; choose frequency, time or none")
    if (axis == "time") != (frames is not None):
        raise ValueError(
            f"{owner}: input_bn={axis!r} with input_frames={frames}; "
            "give the number of frames for input_bn='time' and None for the others"
        )
    if frames is not None:
        return AxisNorm(frames, axis=3)
    return AxisNorm(rows, axis=2) if axis == "frequency" else nn.Identity()


def check_picture(
    owner: str, x: Tensor, *, rows: int, min_frames: int, frames: int | None, hint: str
) -> None:
    """Refuse what is not (B, 1, F, T) with F rows and enough frames.

    Args:
        owner: The network, named in errors.
        x: The input.
        rows: F.
        min_frames: Least T.
        frames: The only T of a network built for one; None: any.
        hint: What to do about too few frames.
    """
    if x.ndim != 4 or x.shape[1] != 1 or x.shape[2] != rows:
        raise ValueError(f"{owner}: the input has shape {tuple(x.shape)}; expected (B, 1, {rows}, T)")
    found = x.shape[-1]
    if found < min_frames:
        raise ValueError(f"{owner}: {found} frames are too few; expected at least {min_frames}. {hint}")
    if frames is not None and found != frames:
        raise ValueError(
            f"{owner}: {found} frames, but input_bn='time' was built for {frames}; "
            "cut the clips to that length or use input_bn='frequency'"
        )
