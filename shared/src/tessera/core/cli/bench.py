"""``tessera bench``: what the parts of networks cost on this machine."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, cast

import typer

from tessera.core.cli.console import Json, Quiet, print_json, print_table, progress

if TYPE_CHECKING:
    from tessera.core.backbone.blocks import SpatialDims
    from tessera.core.backbone_bench import PlugCost

app = typer.Typer(help="What the parts of networks cost on this machine.", no_args_is_help=True)

_COLUMNS = ["slot", "plug", "parameters", "MACs", "ms", "x host"]


@app.callback()
def _bench() -> None:
    """What the parts of networks cost on this machine."""  # without it the only command had no name


@app.command("backbone")
def backbone(
    *,
    slot: Annotated[list[str] | None, typer.Option(help="Only this slot; may be repeated.")] = None,
    dims: Annotated[
        list[int] | None, typer.Option(min=1, max=3, help="Only 1-D, 2-D or 3-D; may be repeated.")
    ] = None,
    turns: Annotated[int, typer.Option(min=1, help="Timed forward passes of each network.")] = 7,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show each plug's parameters, multiply-adds and time in a small network, beside the plain network."""
    from tessera.core.backbone_config import PLUG_NAMES
    from tessera.core.errors import ConfigError

    slots = [name for name in PLUG_NAMES if name != "weights"]  # these compute nothing of their own
    for name in slot or ():
        if name not in slots:
            raise ConfigError(f"there is no slot '{name}' to measure", expected=f"one of {', '.join(slots)}")

    from tessera.core.backbone_bench import measure_plugs
    from tessera.core.training.environment import describe_environment

    jobs = [(d, name) for d in cast("list[SpatialDims]", dims or [1, 2, 3]) for name in slot or slots]
    costs: list[PlugCost] = []
    with progress("plugs", quiet=quiet) as show:
        for number, (d, name) in enumerate(jobs):
            show(number, len(jobs), f"{name}, {d}-D")
            costs += measure_plugs(name, d, turns=turns)
        show(len(jobs), len(jobs), "plugs")
    if as_json:
        print_json({"machine": describe_environment(), "plugs": [asdict(cost) for cost in costs]})
        return
    for d in dict.fromkeys(cost.dims for cost in costs):
        title = f"{d}-D, one thread; x host: time over that of the slot's first row"
        print_table(title, _COLUMNS, [_cells(cost) for cost in costs if cost.dims == d])


def _cells(cost: PlugCost) -> list[str]:
    """A row; a plug that was refused has the reason in it."""
    if cost.refused is not None:
        return [cost.slot, cost.plug, "", "", "", cost.refused]
    parameters, macs = f"{cost.parameters:,}", f"{(cost.macs or 0) / 1e6:,.2f} M"
    return [cost.slot, cost.plug, parameters, macs, f"{cost.milliseconds:.2f}", f"{cost.times_host:.2f}"]
