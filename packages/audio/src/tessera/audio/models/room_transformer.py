"""Transformer over overlapping patches of a picture of sound, made to measure rooms.

Wang et al., "Attention is all you need for blind room volume estimation", arXiv 2309.13504: the Audio
Spectrogram Transformer (Gong et al., arXiv 2104.01778; a DeiT with two special tokens) over gammatone
magnitudes and phases. The paper's text gives no parameter count and its code is not public; sizes follow AST,
85,564,417 parameters for 30 x 1997 and one output. Weights of a DeiT trained on photographs can be taken over
with `from_image_weights`: the three colours' kernels are summed, the grid of positions is cropped along an
axis that became shorter and resized along one that became longer. Difference: dropout, off by default.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone.attention import TransformerLayer

SPECIAL_TOKENS = 2  # class and distillation
INITIAL_DEVIATION = 0.02  # of tokens, positions and weights, as in DeiT
NORM_EPS = 1e-6  # DeiT's; torch's own is 1e-5


class RoomTransformer(nn.Module):
    """Picture (B, 1, F, T) of one size -> raw output (B, K).

    Args:
        num_outputs: K.
        shape: (F, T), each at least one patch.
        width: Numbers a token, C.
        depth: Number of layers.
        heads: Attention heads; they divide C.
        hidden: Units between the two layers of each MLP; None is 4 C.
        patch: Rows and columns of a patch.
        stride: From one patch to the next, in both directions.
        dropout: After each attention and each layer of the MLPs.
    """

    def __init__(
        self,
        num_outputs: int,
        *,
        shape: tuple[int, int],
        width: int = 768,
        depth: int = 12,
        heads: int = 12,
        hidden: int | None = None,
        patch: int = 16,
        stride: int = 10,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        if min(shape) < patch:
            raise ValueError(
                f"RoomTransformer: a picture of {shape[0]} x {shape[1]} holds no patch of {patch} x {patch}; "
                "take smaller patches, more rows or a smaller hop"
            )
        self.shape = shape
        self.grid = (1 + (shape[0] - patch) // stride, 1 + (shape[1] - patch) // stride)
        self.patches = nn.Conv2d(1, width, patch, stride)
        self.tokens = nn.Parameter(torch.empty(1, SPECIAL_TOKENS, width))
        places = SPECIAL_TOKENS + self.grid[0] * self.grid[1]
        self.positions = nn.Parameter(torch.empty(1, places, width))
        self.layers = nn.Sequential(
            *(
                TransformerLayer(width, heads, hidden or 4 * width, dropout=dropout, name="RoomTransformer")
                for _ in range(depth)
            )
        )
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, num_outputs))
        self._start()

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> (B, K)."""
        return self.head(self.embed(x))

    def embed(self, x: Tensor) -> Tensor:
        """(B, 1, F, T) -> the mean of the two special tokens (B, C)."""
        if x.shape[1:] != (1, *self.shape):
            raise ValueError(
                f"RoomTransformer: the input has shape {tuple(x.shape)}; expected (B, 1, {self.shape[0]}, "
                f"{self.shape[1]}), because each patch has a position of its own"
            )
        patches = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.tokens.expand(len(x), -1, -1), patches], dim=1)
        tokens = self.norm(self.layers(tokens + self.positions))
        return tokens[:, :SPECIAL_TOKENS].mean(dim=1)

    def _start(self) -> None:
        for values in (self.tokens, self.positions):
            nn.init.trunc_normal_(values, std=INITIAL_DEVIATION)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=INITIAL_DEVIATION)
                nn.init.zeros_(module.bias)
            if isinstance(module, nn.LayerNorm):
                module.eps = NORM_EPS


def from_image_weights(
    weights: Mapping[str, Tensor], network: RoomTransformer, *, grid: tuple[int, int]
) -> dict[str, Tensor]:
    """Weights of a distilled DeiT, by timm's names, as the network's own but for its head.

    Args:
        weights: Those of patches, tokens, positions, blocks and the last norm; others are left out.
        network: What they are for; width, depth and patches must be its own.
        grid: Rows and columns of the patches of the photographs, 24 x 24 for 384 pixels.
    """
    kernels = weights["patch_embed.proj.weight"].sum(dim=1, keepdim=True)
    taken = {
        "patches.weight": kernels,
        "patches.bias": weights["patch_embed.proj.bias"],
        "tokens": torch.cat([weights["cls_token"], weights["dist_token"]], dim=1),
        "positions": resized_positions(weights["pos_embed"], grid=grid, to=network.grid),
        "norm.weight": weights["norm.weight"],
        "norm.bias": weights["norm.bias"],
    }
    for name, value in weights.items():
        if name.startswith("blocks."):
            own = name.replace("blocks.", "layers.", 1).replace(".attn.", ".attention.")
            taken[own.replace(".mlp.", ".")] = value
    wrong = [n for n, p in network.state_dict().items() if n in taken and taken[n].shape != p.shape]
    missing = [n for n in network.state_dict() if n not in taken and not n.startswith("head.")]
    strange = sorted(set(taken) - set(network.state_dict()))
    if wrong or missing or strange:
        raise ValueError(
            f"RoomTransformer: the weights do not fit: {len(wrong)} of another shape {wrong[:3]}, "
            f"{len(missing)} missing {missing[:3]}, {len(strange)} too many {strange[:3]}; "
            "width, depth, heads, hidden and patch must be those of the network they come from"
        )
    return taken


def resized_positions(positions: Tensor, *, grid: tuple[int, int], to: tuple[int, int]) -> Tensor:
    """Positions (1, 2 + rows x columns, C) of one grid for another; those of the special tokens stay.

    A shorter axis keeps its middle, a longer one is read between its places on straight lines.
    """
    special, places = positions[:, :SPECIAL_TOKENS], positions[:, SPECIAL_TOKENS:]
    table = places.reshape(1, *grid, -1).permute(0, 3, 1, 2)
    for axis, (old, new) in enumerate(zip(grid, to, strict=True), start=2):
        if new <= old:
            table = table.narrow(axis, (old - new) // 2, new)
    if table.shape[2:] != to:
        table = F.interpolate(table, to, mode="bilinear", align_corners=False)
    return torch.cat([special, table.flatten(2).transpose(1, 2)], dim=1)
