"""CRNN: four convolution blocks over a log-mel spectrogram, two GRUs over what is left of time.

Choi, Fazekas, Sandler, Cho, "Convolutional Recurrent Neural Networks for Music Classification",
arXiv 1609.04243. Differences from the released network: the input batch norm works on the frequency
axis by default (theirs, on the padded time axis, fixes the clip length; ``input_bn="time"``); GRUs are
torch's, with two bias vectors and the reset gate applied after the recurrent product; logits come
without the sigmoid; an optional gate; the padding follows the clip's length (see `CRNN`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone import build_adn, build_down, conv
from tessera.core.backbone.picture_input import InputNormAxis, check_picture, input_norm
from tessera.core.backbone.plugs import Place, Plug, gate_at

StepPool = Literal["last", "mean"]

PAPER_POOLS = ((2, 2), (3, 3), (4, 4), (4, 4))


class CRNN(nn.Module):
    """Log-mel spectrogram (B, 1, F, T) -> logits (B, K).

    Zeros are added to both ends of the time axis, so that no frame is lost in the pools: up to the next
    multiple of the pools' time product, the odd one at the end. The paper's 1366 frames get 37 on each
    side and end as 15 steps; 157 frames get 17 and 18 and end as 2, so short clips deserve smaller
    pools, such as (2, 2), (3, 2), (4, 2), (4, 2) with 10 steps. The zeros are added to the input as it
    comes: in decibels relative to full scale they are loud, not silent, unless it is normalised first.

    Args:
        num_classes: K.
        n_mels: F, number of mel bands.
        widths: Channels of the convolution blocks.
        pools: (frequency, time) of the max pool that ends each block.
        rnn: Units of the GRUs.
        rnn_pool: What the classifier sees: the last step's state, or the mean over the steps.
        input_bn: Axis whose entries are normalised one by one.
        input_frames: T, needed for the time axis and for no other.
        pad_frames: Frames added on each side; None follows the rule above.
        dropout: After each convolution block.
        head_dropout: Before the classifier.
        gate: Plug of the gate between each block's activation and its pool.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        n_mels: int = 96,
        widths: Sequence[int] = (64, 128, 128, 128),
        pools: Sequence[tuple[int, int]] = PAPER_POOLS,
        rnn: Sequence[int] = (32, 32),
        rnn_pool: StepPool = "last",
        input_bn: InputNormAxis = "frequency",
        input_frames: int | None = None,
        pad_frames: int | None = None,
        dropout: float = 0.1,
        head_dropout: float = 0.3,
        gate: Plug = "identity",
    ) -> None:
        super().__init__()
        bands = n_mels // math.prod(frequency for frequency, _ in pools)
        _check_layers(widths=widths, pools=pools, rnn=rnn, bands=bands)
        if rnn_pool not in ("last", "mean"):
            raise ValueError(f"CRNN: rnn_pool={rnn_pool!r} is not known; choose last or mean")
        if pad_frames is not None and pad_frames < 0:
            raise ValueError(
                f"CRNN: pad_frames={pad_frames} is negative; give 0 or more, or None for the rule"
            )
        self.n_mels = n_mels
        self.rnn_pool = rnn_pool
        self.pad_frames = pad_frames
        self.time_pool = math.prod(time for _, time in pools)
        self.min_frames = 1 if pad_frames is None else max(1, self.time_pool - 2 * pad_frames)
        self.input_frames = input_frames
        padded = None if input_frames is None else input_frames + sum(self._padding(input_frames))
        self.input_norm = input_norm("CRNN", input_bn, rows=n_mels, frames=padded)
        self.blocks = nn.Sequential(
            *[
                _block(c_in, c_out, pool, stage=stage, dropout=dropout, gate=gate)
                for stage, (c_in, c_out, pool) in enumerate(zip([1, *widths], widths, pools, strict=False))
            ]
        )
        sizes = [widths[-1] * bands, *rnn]
        self.rnns = nn.ModuleList(
            nn.GRU(size, units, batch_first=True) for size, units in zip(sizes, rnn, strict=False)
        )
        self.dropout = nn.Dropout(head_dropout)
        self.classifier = nn.Linear(rnn[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 1, F, T) -> logits (B, K); T at least `min_frames`."""
        return self.classifier(self.dropout(self.embed(x)))

    def embed(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 1, F, T) -> state of the last GRU (B, units), a summary for other uses."""
        check_picture(
            "CRNN",
            x,
            rows=self.n_mels,
            min_frames=self.min_frames,
            frames=self.input_frames,
            hint="Take longer clips, smaller pools in time or pad_frames=None",
        )
        x = self.blocks(self.input_norm(F.pad(x, self._padding(x.shape[-1]))))
        steps = x.flatten(1, 2).transpose(1, 2)
        for rnn in self.rnns:
            steps, _ = rnn(steps)
        return steps[:, -1] if self.rnn_pool == "last" else steps.mean(1)

    def _padding(self, frames: int) -> tuple[int, int]:
        if self.pad_frames is not None:
            return self.pad_frames, self.pad_frames
        missing = -frames % self.time_pool
        return missing // 2, missing - missing // 2


def _block(
    c_in: int, c_out: int, pool: tuple[int, int], *, stage: int, dropout: float, gate: Plug
) -> nn.Module:
    return nn.Sequential(
        conv(2, c_in, c_out, kernel=3, padding=1),
        build_adn("bn_elu", 2, c_out, "mid", stage),
        gate_at(gate, Place(stage=stage), 2, c_out),
        build_down("max", 2, c_out, c_out, pool),
        nn.Dropout(dropout),
    )


def _check_layers(
    *, widths: Sequence[int], pools: Sequence[tuple[int, int]], rnn: Sequence[int], bands: int
) -> None:
    if not widths or len(widths) != len(pools):
        raise ValueError(f"CRNN: {len(widths)} widths and {len(pools)} pools; give one pool for each width")
    if not rnn:
        raise ValueError("CRNN: rnn is empty; give the units of at least one GRU, the paper has (32, 32)")
    if bands < 1:
        raise ValueError("CRNN: the pools leave no frequency band; take smaller pools or more mel bands")
