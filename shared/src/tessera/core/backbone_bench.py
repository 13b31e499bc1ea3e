"""What each plug costs: the same small network with the plug in its slot and with the slot left plain."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims
from tessera.core.backbone.macs import count_macs
from tessera.core.backbone_config import PLUG_NAMES, ClassifierConfig
from tessera.core.errors import ConfigError

IN_CHANNELS, CLASSES = 2, 10
INPUTS: dict[SpatialDims, tuple[int, ...]] = {
    1: (2, IN_CHANNELS, 1024),
    2: (2, IN_CHANNELS, 32, 32),
    3: (2, IN_CHANNELS, 12, 12, 12),
}
_ENCODER: dict[str, Any] = {
    "widths": (32, 64),
    "depths": (1, 1),
    "strides": (1, 2),
    "stem": "conv",
    "stem_width": 32,
    "stem_stride": 1,
    "stem_pool": None,
}
_METAFORMER: dict[str, Any] = {"block": "metaformer", "adn": "ln_gelu"}
_FIELDS = {"log_polar": "input_map"}  # plugs of the slot down that belong before the stem


@dataclass(frozen=True, kw_only=True)
class PlugCost:
    """One plug in one number of dimensions; the slot's plain host comes first and is 1.0 times itself.

    Args:
        slot: Its slot.
        plug: Its name; "none" where the slot is empty.
        dims: Spatial dimensions.
        parameters: Of the whole network.
        macs: Multiply-adds of a forward pass of one sample, see `count_macs`.
        milliseconds: Median time of a forward pass of the whole batch.
        times_host: Median over turns of its time over the host's in the same turn.
        refused: Why there is no such network; the numbers are None then.
    """

    slot: str
    plug: str
    dims: SpatialDims
    parameters: int | None = None
    macs: int | None = None
    milliseconds: float | None = None
    times_host: float | None = None
    refused: str | None = None


def measure_plugs(
    slot: str, dims: SpatialDims, *, turns: int = 7, timer: Callable[[], float] = time.perf_counter
) -> list[PlugCost]:
    """Cost of every plug of a slot; networks take turns on one thread, so that a slow second meets all."""
    x = torch.randn(INPUTS[dims], generator=torch.Generator().manual_seed(0))
    host = _plain(slot)
    networks: dict[str, nn.Module] = {}
    refused: dict[str, str] = {}
    for plug in (host, *(name for name in PLUG_NAMES[slot] if name != host)):
        try:
            networks[plug] = build_host(slot, plug, dims)
        except ConfigError as error:
            refused[plug] = str(error.found)
    with _one_thread(), torch.no_grad():
        macs = {plug: count_macs(network, x[:1]) for plug, network in networks.items()}
        seconds = _in_turns(networks, x, turns=turns, timer=timer)
    costs = [
        PlugCost(
            slot=slot,
            plug=plug,
            dims=dims,
            parameters=sum(p.numel() for p in network.parameters()),
            macs=macs[plug],
            milliseconds=1e3 * median(seconds[plug]),
            times_host=median(a / b for a, b in zip(seconds[plug], seconds[host], strict=True)),
        )
        for plug, network in networks.items()
    ]
    return costs + [PlugCost(slot=slot, plug=plug, dims=dims, refused=why) for plug, why in refused.items()]


def build_host(slot: str, plug: str, dims: SpatialDims) -> nn.Module:
    """The small classifier with this plug in its slot, in evaluation; "none" leaves the slot empty."""
    encoder = {**_ENCODER, **(_METAFORMER if slot == "ffn" else {}), "input_size": INPUTS[dims][2:]}
    values: dict[str, Any] = {"encoder": encoder}
    if plug != "none":
        (values if slot == "head" else encoder)[_FIELDS.get(plug, slot)] = plug
    return ClassifierConfig(**values).build(dims, IN_CHANNELS, CLASSES).eval()


def _plain(slot: str) -> str:
    """The plug that networks have without a word about this slot."""
    config = ClassifierConfig()
    plug = getattr(config if slot == "head" else config.encoder, slot)
    return "none" if plug is None else plug.kind


def _in_turns(
    networks: dict[str, nn.Module], x: Tensor, *, turns: int, timer: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each network's forward pass in each turn, after one that is not counted."""
    seconds: dict[str, list[float]] = {plug: [] for plug in networks}
    for turn in range(turns + 1):
        for plug, network in networks.items():
            start = timer()
            network(x)
            elapsed = timer() - start
            if turn > 0:
                seconds[plug].append(elapsed)
    return seconds


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
