"""A whole run: split, fit, bundle with calibration, evaluation on the held-out fold, report."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tessera.core.bundle.bundle import Bundle, combine, update_calibration, update_card
from tessera.core.config import load_yaml, validate
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split, check_classes, check_leaks, fold_names, make_split
from tessera.core.errors import ConfigError, DataError
from tessera.core.evaluation import ClassPredictions, Evaluation, evaluate, pool, write_predictions
from tessera.core.pipeline import Pipeline
from tessera.core.report.report import Report
from tessera.core.run_config import RunConfig
from tessera.core.training.bundling import LEAST_CALIBRATION_CASES, bundle_of_run, with_thresholds
from tessera.core.training.callbacks import Progress
from tessera.core.training.fit import fit
from tessera.core.training.run_folder import CONFIG, SPLITS, Run, fold_folder
from tessera.core.training.scoring import (
    BOOTSTRAP_SEED,
    EVALUATION_FILE,
    PREDICTIONS_FILE,
    evaluate_bundle,
    load_evaluation,
    load_predictions,
    measure,
    metric_records,
)

logger = logging.getLogger(__name__)

PLAN_FILE = "run.json"
SUMMARY_FILE = "summary.json"  # written last: a run that has it is finished


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a run does; kept in ``run.json``, so that it can be resumed by its folder alone.

    Args:
        config: The complete config.
        data: Manifest id or path.
        fold: The fold held out for testing.
        n_folds: Folds to make where the data has none.
        budget_s: Time for training, seconds.
        from_bundle: Bundle whose weights training starts from.
        without: A fold whose cases the run never sees; ``fold`` is then one of the others.
    """

    config: RunConfig
    data: str
    fold: str | None = None
    n_folds: int = 5
    budget_s: float | None = None
    from_bundle: Path | None = None
    without: str | None = None


@dataclass(frozen=True)
class Finished:
    """A finished run: its folder, bundle, and evaluation when a fold was held out."""

    folder: Path
    bundle: Bundle
    evaluation: Evaluation | None


def read_plan(folder: Path, pipeline: Pipeline) -> Plan:
    """The plan of a run that was begun."""
    file = folder / PLAN_FILE
    if not file.is_file():
        raise ConfigError(f"{folder} is not a run", expected=f"a folder with {PLAN_FILE} and {CONFIG}")
    facts = json.loads(file.read_text(encoding="utf-8"))
    return Plan(
        config=_read_config(folder, pipeline),
        data=facts["data"],
        fold=facts["fold"],
        n_folds=facts["n_folds"],
        budget_s=facts["budget_s"],
        from_bundle=None if facts["from_bundle"] is None else Path(facts["from_bundle"]),
        without=facts.get("without"),
    )


def train_one(
    plan: Plan, pipeline: Pipeline, *, out: Path, resume: bool = False, progress: Progress | None = None
) -> Finished:
    """Train, bundle, evaluate and report one fold (or one official split)."""
    manifest = Manifest.load(plan.data)
    config = plan.config
    cases = training_cases(plan, manifest)
    if resume and (out / SPLITS).is_file():
        split = Split.read(out / SPLITS)
    else:
        split = make_split(
            cases,
            fold=plan.fold,
            n_folds=plan.n_folds,
            val_fraction=config.data.val_fraction,
            seed=config.seed,
            target=config.data.target,
        )
    check_leaks(cases, split)
    for warning in (*manifest.warnings, *check_classes(cases, split, config.data.target)):
        logger.warning(warning)
    if pipeline.configure:  # changes nothing of a complete config; a study goes on with the one it asks for
        config = pipeline.resolve("configure")(config, manifest, split)
    if not (out / PLAN_FILE).exists() and (resume or not (out / CONFIG).exists()):
        _write_plan(out, plan, manifest)  # before the first step: a killed run is resumed by its folder
    run = fit(
        config,
        pipeline,
        manifest,
        out=out,
        split=split,
        from_bundle=plan.from_bundle,
        resume=resume,
        budget_s=plan.budget_s,
        progress=progress,
    )
    return finish(run, pipeline, manifest, split)


def training_cases(plan: Plan, manifest: Manifest) -> tuple[Case, ...]:
    """The cases a run splits into training and test: all that have the target, but those of ``without``."""
    config = plan.config
    cases = tuple(manifest.training_cases(config.data.target))
    if plan.without is None:
        return cases
    outer = make_split(
        cases,
        fold=plan.without,
        n_folds=plan.n_folds,
        val_fraction=0.0,
        seed=config.seed,
        target=config.data.target,
    )
    return outer.cases(cases, "train")


def finish(run: Run, pipeline: Pipeline, manifest: Manifest, split: Split) -> Finished:
    """Bundle, evaluation and report of a fitted run; ``summary.json`` comes last."""
    config = _read_config(run.folder, pipeline)
    bundle = bundle_of_run(run, config, pipeline, manifest, split)
    test = split.cases(manifest.cases, "test")
    evaluation = None
    if test:
        evaluation = evaluate_bundle(
            bundle, test, target_name=config.data.target, out=run.folder, fold=split.fold
        )
        measure(pipeline, run.folder, bundle.card.target, test, {})
        name = f"fold {split.fold}" if split.fold else "test"
        bundle = update_card(bundle, metrics=metric_records(evaluation, dataset=manifest.info.id, split=name))
    Report(run.folder).write()
    summary = {
        "steps": run.steps,
        "epochs": run.epochs,
        "seconds": run.seconds,
        "stopped_early": run.stopped_early,
        "parameters": bundle.card.parameters,
    }
    write_atomic(run.folder / SUMMARY_FILE, json.dumps(summary, indent=2) + "\n")
    return Finished(run.folder, bundle, evaluation)


def train_folds(
    plan: Plan, pipeline: Pipeline, *, folds: str, out: Path, progress: Progress | None = None
) -> Finished:
    """One run a fold below ``out``, their ensemble as ``out/bundle``, and an evaluation pooled over folds.

    Each case is evaluated by the member that did not train on it; so are the ensemble's thresholds chosen.
    Finished folds are kept.
    """
    manifest = Manifest.load(plan.data)
    known = fold_names(manifest.cases, plan.n_folds)
    chosen = known if folds == "all" else tuple(folds.split(","))
    if unknown := [fold for fold in chosen if fold not in known]:
        raise DataError(
            f"there is no fold {', '.join(unknown)}", expected=f"all, or some of {', '.join(known)}"
        )
    budget_s = None if plan.budget_s is None else plan.budget_s / len(chosen)
    finished = []
    for fold in chosen:
        folder = out / fold_folder(fold)
        if (folder / SUMMARY_FILE).is_file():
            finished.append(Finished(folder, Bundle.load(folder / "bundle"), load_evaluation(folder)))
            continue
        one = replace(plan, fold=fold, budget_s=budget_s)
        started = (folder / CONFIG).is_file()
        finished.append(train_one(one, pipeline, out=folder, resume=started, progress=progress))
    _write_plan(out, plan, manifest)
    return _pool_folds(finished, manifest, out=out)


def _pool_folds(finished: Sequence[Finished], manifest: Manifest, *, out: Path) -> Finished:
    folder = out / "bundle"
    ensemble = Bundle.load(folder) if folder.exists() else combine(folder, [one.bundle for one in finished])
    spec = ensemble.card.target
    pooled = pool([load_predictions(one.folder, spec) for one in finished])
    evaluation = evaluate(pooled, seed=BOOTSTRAP_SEED)
    write_predictions(pooled, out / PREDICTIONS_FILE)
    write_atomic(out / EVALUATION_FILE, evaluation.to_json())
    records = metric_records(
        evaluation,
        dataset=manifest.info.id,
        split="cross-validation; each case by the member not trained on it",
    )
    ensemble = update_card(ensemble, metrics=records)
    if isinstance(pooled, ClassPredictions) and len(pooled) >= LEAST_CALIBRATION_CASES:
        ensemble = update_calibration(ensemble, with_thresholds(ensemble.calibration, pooled))
    write_atomic(out / CONFIG, (finished[0].folder / CONFIG).read_text(encoding="utf-8"))
    Report(out).write()
    return Finished(out, ensemble, evaluation)


def _read_config(folder: Path, pipeline: Pipeline) -> RunConfig:
    kind: type[RunConfig] = pipeline.resolve("config")
    return validate(kind, load_yaml(folder / CONFIG), source=str(folder / CONFIG))


def _write_plan(out: Path, plan: Plan, manifest: Manifest) -> None:
    info = manifest.info
    facts = {
        "data": plan.data,
        "fold": plan.fold,
        "n_folds": plan.n_folds,
        "budget_s": plan.budget_s,
        "from_bundle": None if plan.from_bundle is None else str(plan.from_bundle),
        "without": plan.without,
        "dataset": {
            "id": info.id,
            "title": info.title,
            "licence": info.licence,
            "citation": info.citation,
            "source": info.source,
            "simulated": info.simulated,
            "digest": manifest.digest,
            "cases": len(manifest.cases),
            "groups": len({case.group for case in manifest.cases}),
        },
    }
    write_atomic(out / PLAN_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
