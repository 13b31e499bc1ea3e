"""Forward time of our plugs on images beside timm's: same weights and inputs, outputs compared first.

timm has no other plugs but those that are one layer of torch (1.0.31; its gather-excite with parameters
cannot be built). Where it has a block but not the plug in it, the whole block is timed. One thread; the two
take turns.
Run: python benchmarks/timm_plugs.py [--only "gate se" --only ...] [--repeats 50] [--json]
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import dataclass

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")  # before torch loads

import torch
from machine import Record, show
from timing import median_seconds
from timm import layers
from timm.models import byobnet, ghostnet, mlp_mixer, mobilevit, res2net
from torch import Tensor, nn

from tessera.core.backbone import slots
from tessera.core.backbone.bottleneck import Bottleneck, BottleneckPlan
from tessera.core.backbone.metaformer import Metaformer, MetaformerPlan
from tessera.core.backbone.plugs import Place

LARGEST_DIFFERENCE = 1e-5  # absolute, and relative to the largest value where that is above 1


@dataclass(frozen=True)
class Pair:
    """Our module, timm's, and what both take.

    Args:
        ours: (B, C, H, W) -> output, or a metaformer block, or a head.
        theirs: The same of timm.
        shape: B, C, H and W.
        order: Parts of timm's module in the order of ours.
        tokens: Whether timm's takes and gives tokens (B, H W, C).
    """

    ours: nn.Module
    theirs: nn.Module
    shape: tuple[int, ...]
    order: tuple[str, ...] = ("",)
    tokens: bool = False


def gates() -> dict[str, Pair]:
    shape = 8, 256, 28, 28
    nearby = layers.GatherExcite(256, extent=4, use_mlp=False)
    return {
        "gate se": Pair(slots.build_gate("se", 2, 256), layers.SEModule(256), shape),
        "gate eca": Pair(slots.build_gate("eca", 2, 256), layers.EcaModule(256), shape),
        "gate ge_minus": Pair(
            slots.build_gate("ge_minus", 2, 256), layers.GatherExcite(256, use_mlp=False), shape
        ),
        "gate ge_minus, extent 4": Pair(slots.build_gate("ge_minus", 2, 256, extent=4), nearby, shape),
    }


def mixers() -> dict[str, Pair]:
    selective = layers.SelectiveKernel(128, 128, groups=32, rd_ratio=1 / 16, rd_divisor=32, split_input=False)
    silu = byobnet.LayerFn(
        conv_norm_act=lambda *a, **k: layers.ConvNormAct(*a, act_layer=nn.SiLU, **k), act=nn.SiLU
    )
    visual = mobilevit.MobileVitBlock(96, transformer_dim=144, transformer_depth=2, patch_size=2, layers=silu)
    token_mlp = Metaformer(2, 256, plan=MetaformerPlan(mixer="token_mlp"), place=Place(grid=(14, 14)))
    return {
        "mixer ghost": Pair(
            slots.build_mixer("ghost", 2, 64, 128), ghostnet.GhostModule(64, 128), (4, 64, 56, 56)
        ),
        "mixer sk": Pair(slots.build_mixer("sk", 2, 128, 128), selective, (4, 128, 28, 28)),
        "mixer res2net": res2net_block(stride=1),
        "mixer res2net, stride 2": res2net_block(stride=2),
        "mixer mobilevit": Pair(
            slots.build_mixer("mobilevit", 2, 96, 96, width=144, depth=2), visual, (2, 96, 32, 32)
        ),
        "mixer token_mlp": Pair(token_mlp, mlp_mixer.MixerBlock(256, 196), (4, 256, 14, 14), tokens=True),
    }


def res2net_block(*, stride: int) -> Pair:
    """The whole bottleneck block of the first stage of Res2Net-50 26w4s."""
    channels, width, scale = 256, 26, 4
    plan = BottleneckPlan(ratio=width * scale / channels, mixer="res2net", shortcut={"kind": "avg"})
    ours = Bottleneck(2, channels, channels, stride, plan=plan, place=Place())
    pool = None if stride == 1 else nn.Sequential(nn.AvgPool2d(stride), nn.BatchNorm2d(channels))
    theirs = res2net.Bottle2neck(
        channels, 64, stride, pool, base_width=width, scale=scale, norm_layer=nn.BatchNorm2d
    )
    groups = [part for i in range(scale - 1) for part in (f"convs.{i}", f"bns.{i}")]
    order = "conv1", "bn1", *groups, "conv3", "bn3", *([] if pool is None else ["downsample"])
    return Pair(ours, theirs, (2, channels, 28, 28), order)


def others() -> dict[str, Pair]:
    wide, head = (8, 128, 28, 28), (64, 2048, 7, 7)
    mean = slots.build_head("mean", 2, [2048], 1000)
    mean_max = slots.build_head("mean_max", 2, [2048], 1000)
    return {
        "down patch": Pair(
            slots.build_down("patch", 2, 3, 192, 16), layers.PatchEmbed(192, 16, 3, 192), (8, 3, 192, 192)
        ),
        "adn bn_relu": Pair(slots.build_adn("bn_relu", 2, 128), layers.BatchNormAct2d(128), wide),
        "adn ln_gelu": Pair(
            slots.build_adn("ln_gelu", 2, 128), nn.Sequential(layers.LayerNorm2d(128), nn.GELU()), wide
        ),
        "ffn mlp": Pair(
            slots.build_ffn("mlp", 2, 128), layers.ConvMlp(128, 512, act_layer=nn.GELU), (2, 128, 28, 28)
        ),
        "head mean": Pair(mean, layers.ClassifierHead(2048, 1000), head),
        "head mean_max": Pair(mean_max, layers.ClassifierHead(2048, 1000, pool_type="catavgmax"), head),
    }


def carry_over(pair: Pair) -> None:
    """Draw timm's values, running statistics included, and copy them into our module."""
    values = []
    for name in pair.order:
        for value in pair.theirs.get_submodule(name).state_dict().values():
            if value.is_floating_point():
                value.uniform_(0.5, 1.5) if value.ndim == 1 else nn.init.kaiming_uniform_(value, a=5**0.5)
            values.append(value)
    own = pair.ours.state_dict()
    if len(own) != len(values):
        sys.exit(f"{len(own)} values of ours for {len(values)} of timm")
    state = zip(own.items(), values, strict=True)
    pair.ours.load_state_dict({name: value.reshape(mine.shape) for (name, mine), value in state})


def call(module: nn.Module, x: Tensor) -> Tensor:
    """Our module's output."""
    if isinstance(module, Metaformer | Bottleneck):
        return module(x, {})
    return module([x] if "Head" in type(module).__name__ else x)


def compare(name: str, pair: Pair, repeats: int) -> Record:
    """Check that both give the same, then time both."""
    x = torch.randn(pair.shape, generator=torch.Generator().manual_seed(0))
    pair.ours.eval(), pair.theirs.eval()
    with torch.inference_mode():
        carry_over(pair)
        given = x.flatten(2).transpose(1, 2).contiguous() if pair.tokens else x
        ours, theirs = call(pair.ours, x), pair.theirs(given)
        if theirs.ndim < ours.ndim:
            theirs = theirs.transpose(1, 2).reshape(ours.shape)
        difference = float((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1))
        if not difference <= LARGEST_DIFFERENCE:
            sys.exit(f"{name}: the outputs differ by {difference:.1e}")
        times = median_seconds(
            {"ours": lambda: call(pair.ours, x), "timm": lambda: pair.theirs(given)}, repeats=repeats
        )
    return {
        "plug": name,
        "ours_ms": 1e3 * times["ours"],
        "timm_ms": 1e3 * times["timm"],
        "times timm": times["ours"] / times["timm"],
        "largest_difference": difference,
    }


def main() -> None:
    pairs = gates() | mixers() | others()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", action="append", choices=pairs, help="default: all")
    parser.add_argument("--repeats", type=int, default=50)
    parser.add_argument("--json", action="store_true", help="one JSON object, for scripts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    records = [compare(name, pairs[name], options.repeats) for name in options.only or pairs]
    show(records, as_json=options.json)


if __name__ == "__main__":
    main()
