"""Verify speakers with trained bundles: ``python -m tessera.audio.verify BUNDLE ...``.

With ``--trials`` the pairs of a CSV file (columns enrol, test and, where it is known, same) are scored;
recordings are named as below ``--audio``. With ``--data`` every two recordings of the speakers that a bundle
was not trained on are a trial; several bundles, each with its own unseen speakers, give one result. With
``--audio`` and ``--out`` alone, the embeddings of a folder's recordings are written.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from tessera.audio.embedding import Embedder, Floats
from tessera.audio.readers import SoundReader
from tessera.audio.verification import (
    ErrorRates,
    ScoredTrials,
    Trial,
    all_pairs,
    cosine,
    equal_error_rate,
    error_rates,
    estimate,
    min_dcf,
    read_trials,
)
from tessera.core.bundle.bundle import Bundle
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.data.manifest import Manifest
from tessera.core.errors import ConfigError, DataError, TesseraError
from tessera.core.evaluation import format_estimate
from tessera.core.evaluation.bootstrap import Estimate

NAMED = 5  # of many names in an error
METRICS = {"EER": equal_error_rate, "minDCF": min_dcf}

app = typer.Typer(add_completion=False)


@app.command()
def verify(
    bundles: Annotated[list[Path], typer.Argument(help="Bundles of the pipeline speaker.")],
    *,
    trials: Annotated[Path | None, typer.Option(help="CSV: enrol, test and, if known, same.")] = None,
    audio: Annotated[Path | None, typer.Option(help="Folder of the recordings of --trials.")] = None,
    data: Annotated[str | None, typer.Option(help="Manifest whose groups are speakers.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for embeddings, scores and metrics.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
) -> None:
    """Score trials by the cosine between embeddings; print EER and minDCF with 95 % intervals."""
    try:
        if data is not None and trials is None and audio is None:
            verify_unseen(bundles, data, out=out, device=device)
        elif data is None and trials is not None and audio is not None and len(bundles) == 1:
            verify_trials(bundles[0], trials, audio, out=out, device=device)
        elif data is None and audio is not None and out is not None and len(bundles) == 1:
            embed_folder(bundles[0], audio, out=out, device=device)
        else:
            raise ConfigError(
                "give bundles with --data, or one bundle with --trials and --audio, or with --audio and "
                "--out, and not both"
            )
    except TesseraError as error:
        typer.echo(f"Error: {error}", err=True)
        raise typer.Exit(2) from None


def verify_trials(bundle: Path, list_of: Path, audio: Path, *, out: Path | None, device: str) -> None:
    """Score a list of trials; metrics where it says which are of one speaker."""
    trials = read_trials(list_of)
    found = {case.id: case for case in SoundReader().find(audio)}
    wanted = sorted({name for trial in trials for name in (trial.enrol, trial.test)})
    missing = [name for name in wanted if name not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(wanted)} recordings of {list_of} are not in {audio}",
            found=", ".join(missing[:NAMED]),
            expected="paths below the folder, with / between folders",
        )
    cases = [found[name] for name in wanted]
    rows = Embedder.from_bundle(bundle, device=device).embed(cases)
    place = {name: i for i, name in enumerate(wanted)}
    enrol, test = [place[trial.enrol] for trial in trials], [place[trial.test] for trial in trials]
    scores = cosine(rows[enrol], rows[test])
    if out is not None:
        _write_embeddings(out / "embeddings.csv", cases, rows)
        _write_scores(out / "scores.csv", trials, scores.tolist())
    known = [trial.same for trial in trials if trial.same is not None]
    if len(known) < len(trials) or len(set(known)) < 2:
        typer.echo(f"{len(trials)} trials scored; error rates need known trials of both kinds")
        return
    rates = error_rates(scores, known)
    for name, metric in METRICS.items():
        typer.echo(f"{name} {metric(rates):.4f}, n = {len(trials)} trials")


def embed_folder(bundle: Path, audio: Path, *, out: Path, device: str) -> None:
    """Write the embedding of every recording below a folder; unreadable ones are named and left out."""
    embedder = Embedder.from_bundle(bundle, device=device)
    cases, rows = [], []
    for case in SoundReader().find(audio):
        try:
            rows.append(embedder.embed([case])[0])
        except DataError as error:
            typer.echo(f"left out: {error.one_line()}", err=True)
        else:
            cases.append(case)
    if not cases:
        raise DataError(f"no recording of {audio} can be read")
    _write_embeddings(out / "embeddings.csv", cases, np.stack(rows))
    typer.echo(f"{len(cases)} embeddings in {out / 'embeddings.csv'}")


def verify_unseen(bundles: Sequence[Path], data: str, *, out: Path | None, device: str) -> None:
    """Every two recordings of each bundle's unseen speakers, pooled over the bundles."""
    manifest = Manifest.load(data)
    parts = []
    for number, path in enumerate(bundles, start=1):
        bundle = Bundle.load(path)
        cases = [case for case in manifest.cases if case.group not in bundle.card.target.classes]
        if len({case.group for case in cases}) < 2:
            raise DataError(
                f"{path} was trained on all speakers of {manifest.info.id} but one, or on all",
                found=", ".join(bundle.card.target.classes),
                expected="two speakers or more, the manifest's groups, that it never heard",
            )
        rows = Embedder(bundle, device=device).embed(cases)
        if out is not None:
            _write_embeddings(out / f"embeddings-{number}.csv", cases, rows)
        parts.append(all_pairs(rows, [case.group for case in cases]))
        names = ", ".join(sorted({case.group for case in cases}))
        rates = error_rates(parts[-1].scores, parts[-1].same)
        typer.echo(f"{path}: {_values(rates)} on {len(cases)} recordings of {names}")
    pooled = ScoredTrials(*(np.concatenate([getattr(p, f.name) for p in parts]) for f in _FIELDS))
    estimates = {name: estimate(metric, pooled) for name, metric in METRICS.items()}
    speakers = len(set(pooled.first) | set(pooled.second))
    for name, found in estimates.items():
        typer.echo(
            f"{name} {format_estimate(found, digits=4)}, n = {len(pooled.scores)} trials, {speakers} speakers"
        )
    if out is not None:
        facts = {"trials": len(pooled.scores), "speakers": speakers, "data": manifest.info.id}
        values = {name: _plain(found) for name, found in estimates.items()}
        write_atomic(out / "verification.json", json.dumps({**facts, **values}, indent=2) + "\n")


_FIELDS = dataclasses.fields(ScoredTrials)


def _values(rates: ErrorRates) -> str:
    return ", ".join(f"{name} {metric(rates):.4f}" for name, metric in METRICS.items())


def _plain(found: Estimate) -> dict[str, object]:
    values = dataclasses.asdict(found).items()
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in values}


def _write_embeddings(path: Path, cases: Sequence[Case], rows: Floats) -> None:
    """One row a recording: case_id, group, e0, e1, ..."""
    header = ("case_id", "group", *(f"e{i}" for i in range(rows.shape[1])))
    table = [
        (case.id, case.group, *(f"{value:.9g}" for value in row))
        for case, row in zip(cases, rows.tolist(), strict=True)
    ]
    write_atomic(path, _csv([header, *table]))


def _write_scores(path: Path, trials: Sequence[Trial], scores: Sequence[float]) -> None:
    header = ("enrol", "test", "same", "score")
    table = [
        (trial.enrol, trial.test, "" if trial.same is None else int(trial.same), f"{score:.9g}")
        for trial, score in zip(trials, scores, strict=True)
    ]
    write_atomic(path, _csv([header, *table]))


def _csv(rows: Sequence[Sequence[object]]) -> str:
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(rows)
    return text.getvalue()


if __name__ == "__main__":
    app()
