"""``tessera bundle verify | show | combine``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from tessera.core.cli.console import Json, Quiet, print_json, remark

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tessera.core.bundle.bundle import Bundle
    from tessera.core.bundle.card import MemberFusion

app = typer.Typer(help="Check, show and combine model bundles.", no_args_is_help=True)

Folder = Annotated[Path, typer.Argument(help="A bundle, for instance runs/<run>/bundle.")]


@app.command("verify")
def verify(folder: Folder, as_json: Json = False) -> None:
    """Check every file's SHA-256 and replay the golden pair."""
    from tessera.core.bundle.bundle import Bundle

    bundle = Bundle.load(folder)
    difference = bundle.verify()
    if as_json:
        print_json({"bundle": str(folder), "digest": bundle.digest, "difference": difference})
        return
    typer.echo(
        f"{folder}: all files as written, golden output within {difference:.2g}, digest {bundle.digest[:12]}"
    )


@app.command("show")
def show(folder: Folder, as_json: Json = False) -> None:
    """Show the bundle's card."""
    from tessera.core.bundle.bundle import Bundle

    card = Bundle.load(folder).card
    if as_json:
        print_json(card.model_dump(mode="json"))
        return
    typer.echo(card.to_markdown())


@app.command("combine")
def combine(
    folders: Annotated[list[Path], typer.Argument(help="Bundles, each with one network or more.")],
    *,
    out: Annotated[Path, typer.Option(help="Folder of the new bundle.")],
    fusion: Annotated[
        Literal["mean", "learned"],
        typer.Option(help="mean: of the probabilities; learned: a logistic regression on --data."),
    ] = "mean",
    weights: Annotated[
        str | None, typer.Option(help="Share of each bundle in the mean, e.g. 2,1,1; default: equal.")
    ] = None,
    data: Annotated[
        str | None, typer.Option(help="Manifest id or path: labelled cases no member trained on.")
    ] = None,
    fold: Annotated[str | None, typer.Option(help="Only this fold of --data, or train, val, test.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    quiet: Quiet = False,
) -> None:
    """Make one bundle of several: the same windows, each network with its own features."""
    from tessera.core.bundle.bundle import Bundle
    from tessera.core.bundle.bundle import combine as combine_bundles
    from tessera.core.errors import ConfigError

    if (fusion == "learned") != (data is not None) or (weights is not None and fusion != "mean"):
        raise ConfigError(
            "the options do not go together",
            found=f"--fusion {fusion}, --data {data}, --weights {weights}",
            expected="--fusion learned with --data, or --fusion mean with or without --weights",
        )
    bundles = [Bundle.load(folder) for folder in folders]
    chosen = None if weights is None else _shares(weights, bundles)
    if data is not None:
        chosen = _learned(bundles, data, fold, device=device, quiet=quiet)
    combined = combine_bundles(out, bundles, fusion=chosen)
    remark(f"{combined.card.members} members: {combined.card.preset}", quiet=quiet)
    typer.echo(str(out))


def _shares(weights: str, bundles: Sequence[Bundle]) -> MemberFusion:
    """A bundle's share is split evenly among its members."""
    from tessera.core.bundle.card import MemberFusion
    from tessera.core.config import validate
    from tessera.core.errors import ConfigError

    try:
        shares = [float(text) for text in weights.split(",")]
    except ValueError:
        shares = []
    if len(shares) != len(bundles):
        raise ConfigError("--weights are not one number a bundle", found=weights, expected="such as 2,1,1")
    each = [
        share / bundle.card.members
        for share, bundle in zip(shares, bundles, strict=True)
        for _ in range(bundle.card.members)
    ]
    return validate(MemberFusion, {"weights": each}, source="--weights")


def _learned(
    bundles: Sequence[Bundle], data: str, fold: str | None, *, device: str, quiet: bool
) -> MemberFusion:
    import tempfile

    from tessera.core.bundle.bundle import combine as combine_bundles
    from tessera.core.cli.evaluate import labelled_cases, remark_on_training
    from tessera.core.data.manifest import Manifest
    from tessera.core.training.stacking import learn_fusion

    manifest = Manifest.load(data)
    with tempfile.TemporaryDirectory(prefix="tessera-combine-") as scratch:
        plain = combine_bundles(Path(scratch) / "plain", bundles)
        cases = labelled_cases(plain, manifest, fold)
        remark_on_training(plain, manifest, fold, quiet=quiet)
        return learn_fusion(plain, cases, device=device)
