"""HiFormer: a residual network feeds a Swin transformer, and two of its scales talk through class tokens.

Heidari et al., WACV 2023, arXiv 2207.08518; sizes and order of layers as in the authors' release. Inputs have
one fixed size, because positions are learnt: 224 x 224 with windows of 7 in the paper, here any size that
windows divide at a sixteenth of it. Weights start at random: those of ImageNet are not shipped. One grey
channel is given to all three colours of the first layer, as in the release.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from tessera.core.backbone.attention import Attention, TransformerLayer, to_map, to_tokens
from tessera.core.backbone.blocks import conv
from tessera.core.backbone.drop_path import DropPath, rising_rates
from tessera.core.backbone.encoders import Encoder
from tessera.core.backbone.partition import merge_windows, partition_windows
from tessera.core.backbone.reference.resnets import RESNET_LAYOUTS

COLOURS = 3
WIDTHS = (96, 192, 384)
SWIN_DEPTHS = (2, 2, 6)
SWIN_HEADS = (3, 6, 12)
SWIN_RATIO = 4
DROP_PATH = 0.1  # of the last Swin block
DECODER_WIDTH = 128
HEAD_WIDTH = 16
INITIAL_DEVIATION = 0.02  # of positions, as in Swin and ViT
_HIDDEN = -100.0  # added to scores of places from another side of the map


class HiFormer(nn.Module):
    """(B, 1 or 3, H, W) of one size -> logits (B, K, H, W).

    Args:
        num_classes: K.
        size: H and W, multiples of 16 x ``window``.
        resnet: Name of the residual network, resnet34 or resnet50.
        depths: Transformer layers of the fine and of the coarse branch.
        heads: Attention heads of the two.
        ratio: Hidden units of their layers over channels.
        window: Side of Swin's windows.
    """

    def __init__(
        self,
        num_classes: int,
        *,
        size: Sequence[int] = (224, 224),
        resnet: str = "resnet50",
        depths: tuple[int, int] = (1, 2),
        heads: tuple[int, int] = (6, 12),
        ratio: int = 2,
        window: int = 7,
    ) -> None:
        super().__init__()
        self.size = tuple(size)
        if len(self.size) != 2 or any(side < 1 or side % (16 * window) for side in self.size):
            raise ValueError(
                f"HiFormer: size {self.size} does not hold windows of {window} at a sixteenth of it; "
                f"give two multiples of {16 * window}, or another window"
            )
        layout = RESNET_LAYOUTS[resnet]
        layout = replace(layout, widths=layout.widths[:3], depths=layout.depths[:3], strides=(1, 2, 2))
        self.resnet = Encoder(2, in_channels=COLOURS, layout=layout)
        self.project = nn.ModuleList(
            conv(2, c_in, c, kernel=1) for c_in, c in zip(layout.widths, WIDTHS, strict=True)
        )
        rates = iter(rising_rates(DROP_PATH, sum(SWIN_DEPTHS)))
        self.swin = nn.ModuleList(
            nn.Sequential(
                *[
                    SwinBlock(c, h, window, shift=(block % 2) * (window // 2), drop_path=next(rates))
                    for block in range(depth)
                ]
            )
            for c, h, depth in zip(WIDTHS, SWIN_HEADS, SWIN_DEPTHS, strict=True)
        )
        self.merging = nn.ModuleList(PatchMerging(c) for c in WIDTHS[:-1])
        ends = (WIDTHS[0], WIDTHS[-1])
        self.class_norms = nn.ModuleList(nn.LayerNorm(c) for c in ends)
        grids = [(self.size[0] // s, self.size[1] // s) for s in (4, 16)]
        self.positions = nn.ParameterList(
            nn.Parameter(torch.randn(1, 1 + h * w, c) * INITIAL_DEVIATION)
            for (h, w), c in zip(grids, ends, strict=True)
        )
        self.fusion = DoubleLevelFusion(ends, depths=depths, heads=heads, ratio=ratio)
        self.norms = nn.ModuleList(nn.LayerNorm(c) for c in ends)
        self.fine = _conv_group_norm(WIDTHS[0])
        self.coarse = nn.Sequential(
            _conv_group_norm(WIDTHS[-1]), _double(), _conv_group_norm(DECODER_WIDTH), _double()
        )
        self.squeeze = nn.Sequential(
            conv(2, DECODER_WIDTH, HEAD_WIDTH, kernel=1),
            nn.ReLU(inplace=True),
            nn.Upsample(scale_factor=4, mode="bilinear", align_corners=False),
        )
        self.head = conv(2, HEAD_WIDTH, num_classes, kernel=3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1 or 3, H, W) -> (B, K, H, W)."""
        if tuple(x.shape[2:]) != self.size or x.shape[1] not in (1, COLOURS):
            raise ValueError(
                f"HiFormer: an input {tuple(x.shape[1:])}; it was built for 1 or 3 channels of {self.size}"
            )
        found = self.resnet(x.expand(-1, COLOURS, -1, -1))[-3:]
        scales: list[Tensor] = []
        y = None
        for level, (map_, project, swin) in enumerate(zip(found, self.project, self.swin, strict=True)):
            fed = project(map_)
            y = swin(fed if y is None else self.merging[level - 1](y)) + fed
            scales.append(y)
        ends = [scales[0], scales[-1]]
        tokens = [
            _with_class(to_tokens(end), norm) + position
            for end, norm, position in zip(ends, self.class_norms, self.positions, strict=True)
        ]
        fused = [norm(t)[:, 1:] for norm, t in zip(self.norms, self.fusion(*tokens), strict=True)]
        fine, coarse = (to_map(t, end.shape[2:]) for t, end in zip(fused, ends, strict=True))
        return self.head(self.squeeze(self.fine(fine) + self.coarse(coarse)))


class SwinBlock(nn.Module):
    """(B, C, H, W) -> the same: attention inside windows, shifted by ``shift``, then two layers.

    Liu et al., "Swin Transformer", arXiv 2103.14030.

    Args:
        channels: C.
        heads: Attention heads.
        window: Side of the windows; it divides H and W.
        shift: Places by which the windows are moved, less than ``window``.
        drop_path: Probability of skipping a branch in training.
    """

    def __init__(self, channels: int, heads: int, window: int, *, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1 = nn.LayerNorm(channels)
        self.attention = Attention(channels, heads, name="swin")
        self.bias = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads) * INITIAL_DEVIATION)
        self.norm2 = nn.LayerNorm(channels)
        hidden = SWIN_RATIO * channels
        self.mlp = nn.Sequential(nn.Linear(channels, hidden), nn.GELU(), nn.Linear(hidden, channels))
        self.drop_path = DropPath(drop_path)
        self.relative: Tensor
        self.register_buffer("relative", _relative_places(window), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        sizes, windows = x.shape[2:], (self.window, self.window)
        tokens = to_tokens(x)
        y = to_map(self.norm1(tokens), sizes)
        scores = self.bias[self.relative].permute(2, 0, 1)  # (heads, P, P)
        shift = self.shift if min(sizes) > self.window else 0  # one window has no neighbour
        if shift:
            y = torch.roll(y, (-shift, -shift), dims=(2, 3))
            scores = scores + self._between_sides(sizes, shift, x.device)[:, None]  # (W, heads, P, P)
        inside = self.attention(partition_windows(y, windows), mask=scores)
        y = merge_windows(inside, windows, sizes)
        if shift:
            y = torch.roll(y, (shift, shift), dims=(2, 3))
        tokens = tokens + self.drop_path(to_tokens(y))
        return to_map(tokens + self.drop_path(self.mlp(self.norm2(tokens))), sizes)

    def _between_sides(self, sizes: torch.Size, shift: int, device: torch.device) -> Tensor:
        """(W, P, P): what is added to scores, so that places rolled over an edge do not see the others."""
        part = [torch.arange(size, device=device) for size in sizes]
        side = [
            (at >= size - self.window).long() + (at >= size - shift)
            for at, size in zip(part, sizes, strict=True)
        ]
        names = (3 * side[0][:, None] + side[1][None, :]).float()[None, None]
        tokens = partition_windows(names, (self.window, self.window))[0, :, :, 0]
        return torch.where(tokens[:, None, :] == tokens[:, :, None], 0.0, _HIDDEN)


class PatchMerging(nn.Module):
    """(B, C, H, W) -> (B, 2 C, H / 2, W / 2): four neighbours side by side, normalised and projected.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * channels)
        self.reduce = nn.Linear(4 * channels, 2 * channels, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 2 C, H / 2, W / 2)."""
        quarters = [x[:, :, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged = self.reduce(self.norm(to_tokens(torch.cat(quarters, dim=1))))
        return to_map(merged, quarters[0].shape[2:])


class DoubleLevelFusion(nn.Module):
    """Two sequences, class token first, each of which asks the other's tokens through its class token.

    Args:
        widths: Channels of the fine and of the coarse tokens.
        depths: Transformer layers of each branch.
        heads: Attention heads of each branch.
        ratio: Hidden units over channels.
    """

    def __init__(
        self, widths: tuple[int, int], *, depths: tuple[int, int], heads: tuple[int, int], ratio: int
    ) -> None:
        super().__init__()
        other = (widths[1], widths[0])
        self.to_other = nn.ModuleList(_project(c, o) for c, o in zip(widths, other, strict=True))
        self.ask_norm = nn.ModuleList(nn.LayerNorm(o) for o in other)
        self.ask = nn.ModuleList(
            Attention(o, h, name="fusion") for o, h in zip(other, reversed(heads), strict=True)
        )
        self.back = nn.ModuleList(_project(o, c) for c, o in zip(widths, other, strict=True))
        self.layers = nn.ModuleList(
            nn.Sequential(*[TransformerLayer(c, h, ratio * c, name="fusion") for _ in range(depth)])
            for c, h, depth in zip(widths, heads, depths, strict=True)
        )

    def forward(self, fine: Tensor, coarse: Tensor) -> list[Tensor]:
        """(B, 1 + N, C) and (B, 1 + M, D) -> the same shapes; both read the tokens as they came."""
        answers = []
        for branch, (own, other) in enumerate(((fine, coarse), (coarse, fine))):
            token = self.to_other[branch](own[:, :1])
            around = self.ask_norm[branch](torch.cat([token, other[:, 1:]], dim=1))
            token = self.back[branch](token + self.ask[branch](around[:, :1], around))
            answers.append(self.layers[branch](torch.cat([token, own[:, 1:]], dim=1)))
        return answers


def _with_class(tokens: Tensor, norm: nn.Module) -> Tensor:
    """Tokens (B, N, C) behind their mean after a norm: (B, 1 + N, C)."""
    return torch.cat([norm(tokens).mean(dim=1, keepdim=True), tokens], dim=1)


def _relative_places(window: int) -> Tensor:
    """Row of the table of biases for each pair of places in a window, (P, P)."""
    at = torch.arange(window)
    rows, columns = (grid.flatten() for grid in torch.meshgrid(at, at, indexing="ij"))
    apart = [grid[:, None] - grid[None, :] + window - 1 for grid in (rows, columns)]
    return apart[0] * (2 * window - 1) + apart[1]


def _project(c_in: int, c_out: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(c_in), nn.GELU(), nn.Linear(c_in, c_out))


def _conv_group_norm(c_in: int) -> nn.Sequential:
    layer = conv(2, c_in, DECODER_WIDTH, kernel=3, padding=1, bias=False)
    return nn.Sequential(layer, nn.GroupNorm(32, DECODER_WIDTH), nn.ReLU(inplace=True))


def _double() -> nn.Module:
    return nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False)
