"""``tessera evaluate``: what a bundle, or predictions made earlier, are worth on labelled cases."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tessera.core.cli.console import Json, Quiet, Set, print_table, remark

if TYPE_CHECKING:
    from tessera.core.bundle.bundle import Bundle
    from tessera.core.data.case import Case
    from tessera.core.data.manifest import Manifest
    from tessera.core.training.scoring import AnyPredictions

NAMED = 5  # failures in a remark


def evaluate(
    bundle: Annotated[
        Path,
        typer.Argument(
            help="A bundle, for instance runs/<run>/bundle, or a folder that tessera predict wrote."
        ),
    ],
    *,
    data: Annotated[str, typer.Option(help="Manifest id or path.")],
    fold: Annotated[
        str | None, typer.Option(help="Only this fold, or train, val, test; default: all.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep evaluation.json and predictions.csv here.")] = None,
    against: Annotated[
        Path | None, typer.Option(help="An earlier evaluation's folder: paired differences to it.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compute metrics with 95 % intervals (bootstrap over groups) on labelled cases.

    --set chooses options of the field's own measures, for instance prevalence=0.05 for tidal features.
    """
    import json
    import tempfile

    from tessera.core.bundle.bundle import Bundle
    from tessera.core.config import parse_set
    from tessera.core.data.manifest import Manifest
    from tessera.core.evaluation import format_estimate
    from tessera.core.inference.ledger import LEDGER
    from tessera.core.training.predicted_masks import bundle_of_predictions
    from tessera.core.training.scoring import FAILURES_FILE, evaluate_bundle, measure, write_evaluation

    earlier = (bundle / LEDGER).is_file()
    opened = bundle_of_predictions(bundle) if earlier else Bundle.load(bundle)
    manifest = Manifest.load(data)
    cases = labelled_cases(opened, manifest, fold)
    remark_on_training(opened, manifest, fold, quiet=quiet or as_json)
    with tempfile.TemporaryDirectory(prefix="tessera-evaluate-") as scratch:
        folder = out or Path(scratch)
        name = opened.card.target_name
        if earlier:
            result = write_evaluation(*_earlier(bundle, opened, cases), folder)
        else:
            result = evaluate_bundle(
                opened, cases, target_name=name, out=folder, fold=fold or "", device=device
            )
        tables = measure(opened.pipeline, folder, opened.card.target, cases, parse_set(set_ or []))
        failures = json.loads((folder / FAILURES_FILE).read_text(encoding="utf-8"))
        difference = None if against is None else _difference(opened, folder, against)
    if as_json:
        typer.echo(result.to_json())
    else:
        rows = [[name, format_estimate(estimate)] for name, estimate in result.metrics.items()]
        print_table(f"n = {result.n} cases, {result.n_groups} groups", ["metric", "value [95 %]"], rows)
        for table in tables:
            print_table(
                table.title, list(table.columns), [[_text(cell) for cell in row] for row in table.rows]
            )
            if table.note:
                remark(table.note, quiet=quiet)
        if difference is not None:
            typer.echo(difference)
    if failures:
        shown = "; ".join(f"{name}: {cause}" for name, cause in list(failures.items())[:NAMED])
        more = f"; and {len(failures) - NAMED} more" if len(failures) > NAMED else ""
        remark(f"{len(failures)} cases could not be evaluated: {shown}{more}", quiet=quiet or as_json)
        raise typer.Exit(3)


def _earlier(folder: Path, bundle: Bundle, cases: list[Case]) -> tuple[AnyPredictions, dict[str, str]]:
    """Labelled predictions from a folder that tessera predict wrote, and why cases have none."""
    from tessera.core.training.predicted_answers import read_answers
    from tessera.core.training.predicted_masks import score_predicted

    spec, name = bundle.card.target, bundle.card.target_name
    if spec.kind == "mask":
        return score_predicted(folder, bundle, cases, target_name=name)
    return read_answers(folder, spec, cases, target_name=name)


def _text(cell: str | int | float | None) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}" if math.isfinite(cell) else "-"
    return "-" if cell is None else str(cell)


def labelled_cases(bundle: Bundle, manifest: Manifest, fold: str | None) -> list[Case]:
    """The cases of a fold that say what the bundle predicts."""
    from tessera.core.errors import DataError

    name, spec = bundle.card.target_name, bundle.card.target
    found = manifest.target(name)
    same = found.classes == spec.classes  # a mask holds places in the list
    if found.kind != spec.kind or not (
        same or (spec.kind != "mask" and set(found.classes) <= set(spec.classes))
    ):
        raise DataError(
            f"the bundle does not know all classes of {manifest.info.id}",
            found=", ".join(sorted(set(found.classes) - set(spec.classes)))
            or f"kind {found.kind}, {', '.join(found.classes)}",
            expected=", ".join(spec.classes) or f"kind {spec.kind}",
        )
    cases = [case for case in manifest.cases if name in case.targets and fold in (None, case.split)]
    if not cases:
        known = ", ".join(sorted({case.split for case in manifest.cases} - {""})) or "no folds at all"
        raise DataError(f"{manifest.info.id} has no labelled cases in fold '{fold}'", expected=known)
    return cases


def remark_on_training(bundle: Bundle, manifest: Manifest, fold: str | None, *, quiet: bool) -> None:
    """Say so when the bundle saw these cases in training."""
    for record in bundle.card.training:
        if record.manifest_digest == manifest.digest and (fold is None or record.fold != fold):
            remark(
                "Warning: the bundle was trained on some of these cases, so the numbers are too good; "
                f"it held out fold {record.fold}.",
                quiet=quiet,
            )
            return


def _difference(bundle: Bundle, folder: Path, against: Path) -> str:
    from tessera.core.evaluation import metrics_of, paired_difference
    from tessera.core.training.scoring import BOOTSTRAP_SEED, load_predictions

    spec = bundle.card.target
    first, second = load_predictions(folder, spec), load_predictions(against, spec)
    name, metric = next(iter(metrics_of(first).items()))
    found = paired_difference(metric, first, second, seed=BOOTSTRAP_SEED)
    return f"{name}: {found.difference:+.3f} [{found.low:+.3f}, {found.high:+.3f}] against {against}"
