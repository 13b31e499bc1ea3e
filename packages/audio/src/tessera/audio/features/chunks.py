"""Features of a recording too long to hold in memory, equal to those computed in one piece."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from tessera.audio.features.front_end import FrontEnd
from tessera.core.errors import ConfigError


def features_in_chunks(
    front_end: FrontEnd, read: Callable[[int, int], Tensor], n_samples: int, *, chunk_samples: int
) -> Tensor:
    """Features (1, 1, rows, frames) of a whole recording, read piece by piece.

    Frames that cross a cut see the samples on both sides of it; padding happens at the true ends alone.

    Args:
        front_end: Gives the features; its device does the work.
        read: Samples from a start up to a stop, shape (1, stop - start).
        n_samples: Length of the recording.
        chunk_samples: New samples in each piece; half a frame of context is read besides.
    """
    if chunk_samples < 1:
        raise ConfigError("the chunk is empty", found=f"{chunk_samples} samples", expected="at least 1")
    return front_end.finish(torch.cat(list(_levels(front_end, read, n_samples, chunk_samples)), dim=-1))


def _levels(
    front_end: FrontEnd, read: Callable[[int, int], Tensor], n_samples: int, chunk_samples: int
) -> Iterator[Tensor]:
    count = front_end.frames(n_samples)
    step = max(1, chunk_samples // front_end.hop)
    for first in range(0, count, step):
        last = min(first + step, count) - 1
        start = first * front_end.hop - front_end.margin
        stop = last * front_end.hop - front_end.margin + front_end.n_fft
        yield front_end.levels(_padded(front_end, read, n_samples, (start, stop)))


def _padded(
    front_end: FrontEnd, read: Callable[[int, int], Tensor], n_samples: int, span: tuple[int, int]
) -> Tensor:
    """Samples of a span that may reach over the ends of the recording, shape (1, 1, stop - start)."""
    start, stop = span
    left, right = max(0, -start), max(0, stop - n_samples)
    # A reflection of k samples needs k + 1 real ones, which may be one more than the frames themselves.
    low = max(0, min(start, n_samples - right - 1)) if right else max(0, start)
    high = min(n_samples, max(stop, left + 1)) if left else min(n_samples, stop)
    samples = read(low, high).to(front_end.constant.device)[None]
    padded = front_end.pad(samples, left=left, right=right)
    skipped = start + left - low
    return padded[..., skipped : skipped + stop - start]
