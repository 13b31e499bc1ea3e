"""``tessera simulate``: data with known truth from the physics of a field."""

from __future__ import annotations

import difflib
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from tessera.core.cli.console import Quiet, Set, progress, remark


class CommandWithFields(TyperCommand):
    """Takes ``--name value``, where it is no option of its own, for ``--set name=value``; alone for true.

    Values are taken once the simulator's name has come, so that ``--dicom airway`` names a simulator.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Write fields as assignments; what looks like an own option misspelt is left to be refused."""
        own = [name for parameter in self.get_params(ctx) for name in parameter.opts]
        named = bool(args) and not args[0].startswith("-")
        written: list[str] = []
        rest = list(args)
        while rest:
            token = rest.pop(0)
            name, equals, value = token.partition("=")
            unknown = name.startswith("--") and name not in (*own, "--")
            if not unknown or difflib.get_close_matches(name, own, n=1, cutoff=0.75):
                written.append(token)
                continue
            if not equals:
                value = rest.pop(0) if named and rest and not re.match(r"-\D", rest[0]) else "true"
            written += ["--set", f"{name.removeprefix('--').replace('-', '_')}={value}"]
        return super().parse_args(ctx, written)


def simulate(
    name: Annotated[str, typer.Argument(help="A simulator, for instance sound-scenes.")],
    *,
    out: Annotated[Path, typer.Option(help="New folder for files, truth and manifest.")],
    n: Annotated[int, typer.Option(min=1, help="How many cases.")] = 100,
    seed: Annotated[int, typer.Option(min=0, help="The same seed gives the same bytes.")] = 0,
    set_: Set = None,
    quiet: Quiet = False,
) -> None:
    """Make simulated cases with known truth, ready for `tessera train --data OUT`.

    A simulator's fields are options too: for airway, --dicom is --set dicom=true (write DICOM series beside
    the NIfTI files); for tidal, --depth deep is --set depth=deep.
    """
    from tessera.core.config import parse_set
    from tessera.core.errors import ConfigError, DataError
    from tessera.core.pipeline import discover, resolve

    simulators = {key: value for p in discover().values() for key, value in p.simulators.items()}
    if name not in simulators:
        known = ", ".join(sorted(simulators)) or "(none installed)"
        raise ConfigError(f"there is no simulator '{name}'", expected=f"one of {known}")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out} already holds files", hint="choose a new folder, or remove this one first")
    with progress(f"simulating {name}", quiet=quiet) as show:
        manifest = resolve(simulators[name])(out, n=n, seed=seed, values=parse_set(set_ or []), progress=show)
    remark(f"{len(manifest.cases)} simulated cases in {out}; use them with --data {out}", quiet=quiet)
