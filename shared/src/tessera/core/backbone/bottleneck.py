"""The convolutional block: a branch of pointwise layers around a mixer, added to a shortcut.

He et al., "Deep Residual Learning for Image Recognition", arXiv 1512.03385, with the stride in the mixer as
torchvision has it; ratios above 1 give the inverted block of Sandler et al., arXiv 1801.04381.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Literal

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, conv
from tessera.core.backbone.drop_path import DropPath
from tessera.core.backbone.plugs import Grid, Place, Plug, adn_at, call_mixer, down_at, gate_at, mixer_at
from tessera.core.backbone.slots.route import State

GatePosition = Literal["last", "after_mixer"]

CONV_SHORTCUT: Plug = {"kind": "conv", "kernel": 1, "bias": False}


@dataclass(frozen=True, kw_only=True)
class BottleneckPlan:
    """What a block is made of.

    Args:
        ratio: Width between the pointwise layers over the width outside; below 1 a bottleneck, above 1 an
            inverted one, and 1 is the basic block of two mixers.
        pointwise: Whether there are pointwise layers; None: unless ratio is 1.
        groups: Groups of the mixer's convolutions, or "depthwise".
        mixer: Plug.
        gate: Plug.
        gate_position: At the end of the branch, or after the (first) mixer and its activation.
        adn: Plug.
        shortcut: Plug of the slot down where shape or channels change; None: no shortcut there, as in
            inverted blocks.
        act_after_add: Whether the sum is activated; inverted blocks are linear there.
    """

    ratio: float = 1.0
    pointwise: bool | None = None
    groups: int | Literal["depthwise"] = 1
    mixer: Plug = "conv"
    gate: Plug = "identity"
    gate_position: GatePosition = "last"
    adn: Plug = "bn_relu"
    shortcut: Plug | None = field(default_factory=lambda: CONV_SHORTCUT)
    act_after_add: bool = True


class Bottleneck(nn.Module):
    """(B, c_in, *S) -> (B, c_out, *ceil(S / stride)).

    A mixer with the attribute ``activated`` is not followed by a bundle of the slot adn.

    Args:
        spatial_dims: Number of axes in S.
        c_in: Channels of the input.
        c_out: Channels of the output.
        stride: Of the first mixer.
        plan: What the block is made of.
        place: Where it is; ``grid`` is the size of its input.
        drop_path: Probability that a sample skips the branch in training.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims,
        c_in: int,
        c_out: int,
        stride: int = 1,
        *,
        plan: BottleneckPlan,
        place: Place,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__()
        pointwise = plan.ratio != 1 if plan.pointwise is None else plan.pointwise
        inner = round(c_out * plan.ratio)
        if inner < 1:
            raise ValueError(f"bottleneck: ratio {plan.ratio} of {c_out} channels leaves none")
        after = replace(place, grid=_strided(place.grid, stride))
        d = spatial_dims
        self.reduce: nn.Module | None = None
        self.expand: nn.Module
        if pointwise:
            self.reduce = conv(d, c_in, inner, kernel=1, bias=False)
            self.first = adn_at(plan.adn, place, d, inner, "first")
            self.mixer = _mixer(plan, place, (d, inner, inner, stride))
            self.adn = _follow(self.mixer, plan, after, d, inner)
            self.expand = conv(d, inner, c_out, kernel=1, bias=False)
        elif inner != c_out:
            raise ValueError(f"bottleneck: ratio {plan.ratio} needs pointwise layers; leave out pointwise")
        else:
            self.mixer = _mixer(plan, place, (d, c_in, c_out, stride))
            self.adn = _follow(self.mixer, plan, after, d, c_out, first=True)
            self.expand = _mixer(plan, replace(after, first=False), (d, c_out, c_out, 1))
        self.last = adn_at(plan.adn, after, d, c_out, "last")
        middle = inner if pointwise else c_out
        self.gate = gate_at(plan.gate, after, d, c_out if plan.gate_position == "last" else middle)
        self.gate_last = plan.gate_position == "last"
        self.drop_path = DropPath(drop_path) if drop_path > 0 else nn.Identity()
        self.shortcut = _shortcut(plan, place, (d, c_in, c_out, stride))
        self.act = adn_at(plan.adn, after, d, c_out, "post_add") if plan.act_after_add else nn.Identity()

    def forward(self, x: Tensor, state: State) -> Tensor:
        """(B, c_in, *S) -> (B, c_out, *ceil(S / stride))."""
        y = x if self.reduce is None else self.first(self.reduce(x))
        y = self.adn(call_mixer(self.mixer, y, state))
        if not self.gate_last:
            y = self.gate(y)
        y = self.last(call_mixer(self.expand, y, state))
        if self.gate_last:
            y = self.gate(y)
        if self.shortcut is not None:
            y = self.drop_path(y) + self.shortcut(x)
        return self.act(y)


def _mixer(plan: BottleneckPlan, place: Place, sizes: tuple[SpatialDims, int, int, int]) -> nn.Module:
    groups = sizes[1] if plan.groups == "depthwise" else plan.groups
    return mixer_at(plan.mixer, place, sizes, groups=groups)


def _follow(
    mixer: nn.Module,
    plan: BottleneckPlan,
    place: Place,
    d: SpatialDims,
    channels: int,
    *,
    first: bool = False,
) -> nn.Module:
    """What comes after a mixer: nothing, where it ends in activated values itself."""
    if getattr(mixer, "activated", False):
        return nn.Identity()
    return adn_at(plan.adn, place, d, channels, "first" if first else "mid")


def _shortcut(
    plan: BottleneckPlan, place: Place, sizes: tuple[SpatialDims, int, int, int]
) -> nn.Module | None:
    spatial_dims, c_in, c_out, stride = sizes
    if c_in == c_out and stride == 1:
        return nn.Identity()
    if plan.shortcut is None:
        return None
    down = down_at(plan.shortcut, place, sizes)
    return nn.Sequential(down, adn_at(plan.adn, place, spatial_dims, c_out, "last"))


def _strided(grid: Grid | None, stride: int) -> Grid | None:
    return None if grid is None else tuple(-(-size // stride) for size in grid)
