"""A set of random changes on a batch: which row is changed how is drawn, recorded, then applied."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tessera.audio import picture_changes as pictures
from tessera.audio import waveform_changes as waves
from tessera.audio.augmentation_config import AugmentationSet, Change
from tessera.audio.time_stretch import by_best_overlap, by_overlap, by_parts
from tessera.core.transforms.masking import AxisMask, AxisMaskParams

_FRAME_S = 0.032  # some periods of a voice, yet short against a syllable
_SPARE = 5  # more draws in [0, 1) a row, for changes of more than one amount
_EMDA_SPREAD = 0.5  # of a picture of variance 1: how much two rooms or microphones may differ


@dataclass(frozen=True)
class DrawnChange:
    """One change of the rows it befalls.

    Args:
        change: Which.
        rows: (n,) numbers of those rows.
        amount: (n,) in the unit of the kind.
        spare: (n, 5) in [0, 1), for further amounts.
        partner: (n,) row of the same class that is mixed in, or the row itself where there is none.
        noise: (n, C, T), where noise is added.
    """

    change: Change
    rows: Tensor
    amount: Tensor
    spare: Tensor
    partner: Tensor
    noise: Tensor | None = None


class SetTransform:
    """Draws and applies a set's changes of sound (B, C, T) or of pictures (B, C, F, T).

    Args:
        config: The set.
        sample_rate_hz: Samples a second of sound.
    """

    def __init__(self, config: AugmentationSet, *, sample_rate_hz: int) -> None:
        self.config = config
        self._rate_hz = sample_rate_hz
        self._frame = 4 * math.ceil(sample_rate_hz * _FRAME_S / 4)

    def draw(self, shape: torch.Size, target: Tensor, generator: torch.Generator) -> list[DrawnChange]:
        """Changes of a batch of this shape (B, C, ...); target (B, K) says which rows are of one class."""
        rows, changes = shape[0], self.config.changes
        touched = torch.rand(rows, generator=generator) * (self.config.copies + 1) >= 1
        if self.config.choose == "one":
            odds = torch.tensor([float(change.weight) for change in changes])
            pick = torch.multinomial(odds.expand(rows, -1), 1, generator=generator)[:, 0]
            chosen = [touched & (pick == i) for i in range(len(changes))]
        else:
            chosen = [touched & (torch.rand(rows, generator=generator) < c.probability) for c in changes]
        return [
            self._draw_one(change, mask.nonzero()[:, 0], shape, target, generator)
            for change, mask in zip(changes, chosen, strict=True)
        ]

    def apply(self, input: Tensor, drawn: Sequence[DrawnChange]) -> Tensor:
        """(B, C, ...) with the recorded changes, one after the other; the input itself is left alone."""
        for one in drawn:
            if len(one.rows) == 0:
                continue
            rows = one.rows.to(input.device)
            apply = self._pictures if one.change.of_pictures else self._sounds
            other = input[one.partner.to(input.device)]
            input = input.index_copy(0, rows, apply(input[rows], other, one))
        return input

    def _draw_one(
        self, change: Change, rows: Tensor, shape: torch.Size, target: Tensor, generator: torch.Generator
    ) -> DrawnChange:
        low, high = change.range
        amount = low + (high - low) * torch.rand(shape[0], generator=generator)
        spare = torch.rand(shape[0], _SPARE, generator=generator)
        partner, noise = torch.arange(shape[0]), None
        if change.kind in ("mix", "picture-mix", "picture-emda"):
            partner = _same_class(target, torch.rand(shape[0], shape[0], generator=generator))
        if change.kind == "noise":
            noise = torch.randn(shape, generator=generator)[rows]
        return DrawnChange(change, rows, amount[rows], spare[rows], partner[rows], noise)

    def _sounds(self, sound: Tensor, other: Tensor, drawn: DrawnChange) -> Tensor:
        """Sounds (n, C, T), all of one change."""
        amount, noise, frame = drawn.amount, drawn.noise, self._frame
        kinds: dict[str, Callable[[], Tensor]] = {
            "speed": lambda: waves.at_speed(sound, amount),
            "pitch": lambda: waves.at_pitch(sound, amount, n_fft=frame),
            "tempo": lambda: waves.at_tempo(sound, amount, n_fft=frame),
            "tempo-ola": lambda: by_overlap(sound, amount, frame=frame),
            "tempo-wsola": lambda: by_best_overlap(sound, amount, frame=frame),
            "tempo-hpss": lambda: by_parts(sound, amount, n_fft=frame),
            "gain": lambda: sound * 10 ** (amount.to(sound)[:, None, None] / 20),
            "noise": lambda: sound if noise is None else waves.with_noise(sound, noise, amount),
            "shift": lambda: waves.shifted(sound, (amount * self._rate_hz).round().long()),
            "clip": lambda: waves.clipped(sound, amount),
            "wow": lambda: waves.with_wow(sound, amount, sample_rate_hz=self._rate_hz),
            "distort": lambda: waves.distorted(sound, amount),
            "compress": lambda: waves.compressed(sound, amount),
            "mix": lambda: pictures.blended(sound, other, amount),
        }
        return kinds[drawn.change.kind]()

    def _pictures(self, picture: Tensor, other: Tensor, drawn: DrawnChange) -> Tensor:
        """Pictures (n, C, F, T), all of one change."""
        amount, spare = drawn.amount, drawn.spare
        height, width = picture.shape[-2:]
        sign = 2.0 * (spare[:, :2] < 0.5) - 1
        curves = _EMDA_SPREAD * (2 * spare[:, :4] - 1)
        kinds: dict[str, Callable[[], Tensor]] = {
            "picture-shift": lambda: pictures.moved(
                picture,
                (sign[:, 0] * amount * height).round(),
                (sign[:, 1] * amount * width).round(),
            ),
            "picture-time-shift": lambda: pictures.turned_round(picture, amount),
            "picture-warp": lambda: pictures.warped(picture, amount),
            "picture-stretch": lambda: pictures.stretched(picture, amount),
            "picture-rotate": lambda: pictures.rotated(picture, amount),
            "picture-mask": lambda: _masked(picture, amount, spare),
            "picture-mix": lambda: pictures.blended(picture, other, amount),
            "picture-emda": lambda: pictures.blended(
                pictures.equalised(picture, curves[:, :2]),
                pictures.turned_round(pictures.equalised(other, curves[:, 2:]), spare[:, 4]),
                amount,
            ),
        }
        return kinds[drawn.change.kind]()


def _same_class(target: Tensor, draws: Tensor) -> Tensor:
    """(B,) another row with the same target (B, ...), each as likely, or the row itself; draws (B, B)."""
    flat = target.detach().reshape(len(target), -1).cpu()
    same = (flat[:, None] == flat[None]).all(dim=2)
    same.fill_diagonal_(False)
    own = torch.arange(len(flat))
    return torch.where(same.any(dim=1), torch.where(same, draws, -1.0).argmax(dim=1), own)


def _masked(picture: Tensor, share: Tensor, spare: Tensor) -> Tensor:
    """One band of rows and one of frames, each a share (n,) of its axis, at the picture's mean."""
    widths = [(share * size).long()[:, None] for size in picture.shape[2:]]
    starts = [
        (spare[:, i : i + 1] * (size - wide + 1)).long()
        for i, (size, wide) in enumerate(zip(picture.shape[2:], widths, strict=True))
    ]
    return AxisMask((1, 1), (1.0, 1.0)).apply(picture, AxisMaskParams(tuple(starts), tuple(widths)))
