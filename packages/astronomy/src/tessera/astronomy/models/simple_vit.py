"""SimpleViT: a plain transformer over patches with fixed positions and a mean over all tokens.

Beyer, Zhai, Kolesnikov, "Better plain ViT baselines for ImageNet-1k", arXiv 2205.01580; sizes as Gondhalekar
and Moriwaki, arXiv 2411.14392, use it on maps of density, with 1,588,420 parameters for one channel and four
outputs. Heads have a width of their own; queries, keys, values and the projection have no biases. Difference:
positions follow from the image, so that its size is free.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import to_map
from tessera.core.backbone.last_map import LastMapNetwork

LONGEST = 10_000.0  # ratio of the longest wave of the positions to the shortest


class SimpleViT(LastMapNetwork):
    """Image (B, c, H, W) -> raw output (B, K); the patch divides H and W.

    Args:
        n_outputs: K.
        in_channels: c.
        patch: Side of a patch in pixels.
        width: Numbers a token, a multiple of 4 and at least 8.
        depth: Number of layers.
        heads: Attention heads.
        head_width: Numbers a head.
        hidden: Units between the two layers of each MLP.
    """

    def __init__(
        self,
        n_outputs: int,
        *,
        in_channels: int = 1,
        patch: int = 8,
        width: int = 64,
        depth: int = 8,
        heads: int = 4,
        head_width: int = 64,
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        if width % 4 or width < 8:
            raise ValueError(
                f"SimpleViT: width {width} does not hold sines and cosines of two axes; give a multiple of 4 "
                "from 8 up"
            )
        self.patch = patch
        numbers = in_channels * patch**2
        self.embed = nn.Sequential(nn.LayerNorm(numbers), nn.Linear(numbers, width), nn.LayerNorm(width))
        self.layers = nn.Sequential(
            *(Layer(width, heads=heads, head_width=head_width, hidden=hidden) for _ in range(depth))
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, n_outputs)

    def last_map(self, x: Tensor) -> Tensor:
        """(B, c, H, W) -> tokens after the last norm, at their places, (B, width, H / patch, W / patch)."""
        tokens = self.embed(patches(x, self.patch))
        grid = (x.shape[2] // self.patch, x.shape[3] // self.patch)
        tokens = tokens + positions(grid, tokens.shape[-1], device=x.device)
        return to_map(self.norm(self.layers(tokens)), grid)

    def classify(self, last: Tensor) -> Tensor:
        """Last map -> (B, K)."""
        return self.head(last.mean(dim=(2, 3)))


class Layer(nn.Module):
    """Tokens (B, N, C) -> same shape: attention, then an MLP, each after a layer norm and with a shortcut.

    Args:
        width: C.
        heads: Attention heads.
        head_width: Numbers a head.
        hidden: Units between the two layers of the MLP.
    """

    def __init__(self, width: int, *, heads: int, head_width: int, hidden: int) -> None:
        super().__init__()
        inner = heads * head_width
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * inner, bias=False)
        self.proj = nn.Linear(inner, width, bias=False)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, C) -> (B, N, C)."""
        split = self.qkv(self.norm(x)).reshape(*x.shape[:2], 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(query, key, value)  # (B, heads, N, head_width)
        x = x + self.proj(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(x)


def patches(x: Tensor, side: int) -> Tensor:
    """(B, c, H, W) -> (B, N, side * side * c), row after row, in each the channel counted fastest."""
    if x.ndim != 4 or x.shape[2] % side or x.shape[3] % side:
        raise ValueError(
            f"SimpleViT: an input of shape {tuple(x.shape)}; expected (B, c, H, W) with H and W multiples of "
            f"the patch, {side}"
        )
    rows, columns = x.shape[2] // side, x.shape[3] // side
    cut = x.reshape(*x.shape[:2], rows, side, columns, side)
    return cut.permute(0, 2, 4, 3, 5, 1).flatten(3).flatten(1, 2)


def positions(grid: tuple[int, int], width: int, *, device: torch.device) -> Tensor:
    """Sines and cosines of column, then of row, each of width / 4 waves, (rows * columns, width)."""
    rate = LONGEST ** -torch.linspace(0, 1, width // 4, device=device)
    rows, columns = (torch.arange(n, device=device)[:, None] * rate for n in grid)
    row = torch.cat([rows.sin(), rows.cos()], dim=1)[:, None].expand(-1, grid[1], -1)
    column = torch.cat([columns.sin(), columns.cos()], dim=1)[None].expand(grid[0], -1, -1)
    return torch.cat([column, row], dim=2).flatten(0, 1)
