"""EfficientTDNN, base network: filter banks of speech -> a speaker embedding.

Wang et al., "EfficientTDNN: Efficient Architecture Search for Speaker Recognition", arXiv 2103.13581. Only
one network of any widths and kernels; by default the base from which the paper's search starts, without the
elastic kernels and widths of its supernet. Convolutions have no bias and the order is convolution, ReLU,
batch norm.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from tessera.core.backbone.slots.gate import SEGate
from tessera.core.backbone.slots.head_asp import ASPHead


class EfficientTDNN(nn.Module):
    """By default the base network, 5,789,760 parameters and 1.436 GMACs for 300 frames of 80 mel bands.

    Args:
        n_mels: Channels of the input.
        embedding: Length E of the embedding.
        width: Channels between the blocks.
        inner: Channels inside each block; None is as many as between them.
        kernels: Frames of the first layer's kernel and of each block's; None is 5, then 3.
        dilations: Dilation of each block.
        concat: Channels that are pooled over time.
    """

    def __init__(
        self,
        n_mels: int = 80,
        embedding: int = 192,
        *,
        width: int = 512,
        inner: Sequence[int] | None = None,
        kernels: Sequence[int] | None = None,
        dilations: Sequence[int] = (2, 3, 4),
        concat: int = 1536,
    ) -> None:
        super().__init__()
        inner = inner or [width] * len(dilations)
        first, *others = kernels or [5, *[3] * len(dilations)]
        if not len(inner) == len(others) == len(dilations):
            raise ValueError(
                f"EfficientTDNN: {len(inner)} inner widths, {len(others)} kernels after the first and "
                f"{len(dilations)} dilations; give one of each for each block"
            )
        self.stem = _conv_relu_norm(n_mels, width, kernel=first)
        self.blocks = nn.ModuleList(
            TDNNBlock(width, inner=channels, kernel=kernel, dilation=dilation)
            for channels, kernel, dilation in zip(inner, others, dilations, strict=True)
        )
        self.join = nn.Sequential(nn.Conv1d(len(dilations) * width, concat, 1, bias=False), nn.ReLU())
        self.head = ASPHead(1, [concat], embedding)
        self.norm = nn.BatchNorm1d(embedding)

    def forward(self, x: Tensor) -> Tensor:
        """(B, n_mels, T) -> embeddings (B, E); in training B is at least 2."""
        total = last = self.stem(x)
        outputs = []
        for block in self.blocks:
            last = block(last) + total  # the running sum of all outputs so far is the shortcut
            total = total + last
            outputs.append(last)
        return self.norm(self.head([self.join(torch.cat(outputs, dim=1))]))


class TDNNBlock(nn.Module):
    """1x1, Res2Net convolution over time, 1x1, squeeze-and-excitation with C/4 hidden units.

    Args:
        channels: C.
        inner: Channels of the Res2Net convolution, a multiple of the scale; None is C.
        kernel: Frames of its kernels, an odd number.
        dilation: Frames between the taps of the kernel.
        scale: Number of groups of the Res2Net convolution.
    """

    def __init__(
        self, channels: int, *, dilation: int, inner: int | None = None, kernel: int = 3, scale: int = 8
    ) -> None:
        super().__init__()
        inner = inner or channels
        if inner % scale or kernel % 2 == 0:
            raise ValueError(
                f"TDNNBlock: {inner} channels in {scale} groups with a kernel of {kernel}; "
                f"give a multiple of {scale} and an odd kernel"
            )
        self.reduce = _conv_relu_norm(channels, inner)
        self.convs = nn.ModuleList(
            _conv_relu_norm(inner // scale, inner // scale, kernel=kernel, dilation=dilation)
            for _ in range(scale - 1)
        )
        self.expand = _conv_relu_norm(inner, channels)
        self.gate = SEGate(1, channels, ratio=4)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, T) -> (B, C, T), without the shortcut."""
        return self.gate(self.expand(self._over_time(self.reduce(x))))

    def _over_time(self, x: Tensor) -> Tensor:
        """Res2Net: each group also takes the result of the one before; the last group stays as it is."""
        *groups, untouched = x.chunk(len(self.convs) + 1, dim=1)
        mixed: list[Tensor] = []
        for group, conv in zip(groups, self.convs, strict=True):
            mixed.append(conv(group + mixed[-1] if mixed else group))
        return torch.cat([*mixed, untouched], dim=1)


def _conv_relu_norm(c_in: int, c_out: int, *, kernel: int = 1, dilation: int = 1) -> nn.Module:
    """(B, c_in, T) -> (B, c_out, T)."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv1d(c_in, c_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.ReLU(),
        nn.BatchNorm1d(c_out),
    )
