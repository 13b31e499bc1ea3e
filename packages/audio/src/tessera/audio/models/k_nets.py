"""k2c2, k2c1 and k1c2: the convolutional networks the CRNN was compared with.

Choi, Fazekas, Sandler, Cho, "Convolutional Recurrent Neural Networks for Music Classification",
arXiv 1609.04243. The name says the dimensions of the kernels and of the convolution: k2c2 is an ordinary
network on pictures; k2c1 sees all bands at once and then moves along time only; k1c2 moves along time in each
band and mixes the bands at its end. Differences: the input batch norm works on the frequency axis by default
(theirs, on the time axis, fixes the clip's length); logits come without the sigmoid; bands that the pools
leave join the channels and what is left of time is averaged, which changes nothing for the paper's 96 x 1366
and lets other clips in. Of k1c2 no public source tells the widths; its default is our reading.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from torch import Tensor, nn

from tessera.core.backbone import build_adn, build_down, conv
from tessera.core.backbone.picture_input import InputNormAxis, check_picture, input_norm

VariantName = Literal["k2c2", "k2c1", "k1c2"]
Pools = tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Variant:
    """What sets one network apart.

    Args:
        kernel: (frequency, time) of the convolutions.
        whole_band: Whether the first kernel spans all bands.
        hidden: Fully connected layers before the last, as wide as the last convolution.
        widths: Filters of the convolutions.
        pools: (frequency, time) of the max pool after each convolution.
    """

    kernel: tuple[int, int]
    whole_band: bool
    hidden: int
    widths: tuple[int, ...]
    pools: Pools


VARIANTS: dict[VariantName, Variant] = {
    "k2c2": Variant((3, 3), False, 0, (32, 128, 128, 192, 256), ((2, 4), (2, 4), (2, 4), (3, 5), (4, 4))),
    "k2c1": Variant((1, 4), True, 2, (106, 106, 106, 212, 212), ((1, 4), (1, 4), (1, 4), (1, 5), (1, 4))),
    "k1c2": Variant((1, 4), False, 2, (33, 33, 66, 66), ((1, 4), (1, 5), (1, 8), (1, 8))),
}


class KNet(nn.Module):
    """Spectrogram (B, 1, F, T) -> logits (B, K).

    Args:
        num_classes: K.
        variant: Which of the three.
        n_mels: F, number of bands.
        widths: Filters of the convolutions; None takes those of the variant.
        pools: (frequency, time) of the max pool after each convolution; None takes the paper's.
        input_bn: Axis whose entries are normalised one by one.
        input_frames: T, needed for the time axis and for no other.
        dropout: After each convolution block.
        head_dropout: Before each fully connected layer.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        variant: VariantName = "k2c2",
        n_mels: int = 96,
        widths: Sequence[int] | None = None,
        pools: Sequence[tuple[int, int]] | None = None,
        input_bn: InputNormAxis = "frequency",
        input_frames: int | None = None,
        dropout: float = 0.1,
        head_dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if variant not in VARIANTS:
            raise ValueError(f"KNet: there is no variant {variant!r}; choose one of: {', '.join(VARIANTS)}")
        table = VARIANTS[variant]
        widths, pools = widths or table.widths, pools or table.pools
        bands = (1 if table.whole_band else n_mels) // math.prod(frequency for frequency, _ in pools)
        _check_layers(widths=widths, pools=pools, bands=bands)
        self.n_mels = n_mels
        self.min_frames = math.prod(time for _, time in pools)
        self.input_frames = input_frames
        self.input_norm = input_norm("KNet", input_bn, rows=n_mels, frames=input_frames)
        self.blocks = nn.Sequential()
        for i, (c_in, c_out, pool) in enumerate(zip([1, *widths], widths, pools, strict=False)):
            whole = table.whole_band and i == 0
            kernel = (n_mels, table.kernel[1]) if whole else table.kernel
            rows = 0 if whole else kernel[0] // 2
            self.blocks.append(_block(c_in, c_out, kernel, pool, rows=rows, dropout=dropout))
        sizes = [widths[-1] * bands, *[widths[-1]] * table.hidden]
        self.hidden = nn.Sequential(
            *[_hidden(n_in, n_out, dropout=head_dropout) for n_in, n_out in pairwise(sizes)]
        )
        self.dropout = nn.Dropout(head_dropout)
        self.classifier = nn.Linear(sizes[-1], num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Spectrogram (B, 1, F, T) -> logits (B, K); T at least `min_frames`."""
        check_picture(
            "KNet",
            x,
            rows=self.n_mels,
            min_frames=self.min_frames,
            frames=self.input_frames,
            hint="Take longer clips, a smaller hop or smaller pools in time",
        )
        summary = self.blocks(self.input_norm(x)).mean(-1).flatten(1)
        return self.classifier(self.dropout(self.hidden(summary)))


def _block(
    c_in: int, c_out: int, kernel: tuple[int, int], pool: tuple[int, int], *, rows: int, dropout: float
) -> nn.Module:
    """Convolution with ``rows`` of zeros around frequency, batch norm, ELU, max pool, dropout."""
    before, after = (kernel[1] - 1) // 2, kernel[1] // 2  # an even kernel looks one frame further ahead
    return nn.Sequential(
        nn.ZeroPad2d((before, after, rows, rows)),
        conv(2, c_in, c_out, kernel=kernel),
        build_adn("bn_elu", 2, c_out, "mid", 0),
        build_down("max", 2, c_out, c_out, pool),
        nn.Dropout(dropout),
    )


def _hidden(n_in: int, n_out: int, *, dropout: float) -> nn.Module:
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(n_in, n_out), build_adn("bn_elu", 1, n_out, "mid", 0))


def _check_layers(*, widths: Sequence[int], pools: Sequence[tuple[int, int]], bands: int) -> None:
    if len(widths) != len(pools):
        raise ValueError(f"KNet: {len(widths)} widths and {len(pools)} pools; give one pool for each width")
    if bands < 1:
        raise ValueError("KNet: the pools leave no frequency band; take smaller pools or more bands")
