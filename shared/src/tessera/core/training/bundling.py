"""From a fitted run to a bundle: card, weights, and a temperature and thresholds from validation data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version

import numpy as np
import torch

from tessera.core.bundle.bundle import Bundle, Member, update_calibration, write_bundle
from tessera.core.bundle.card import Calibration, Card, ThresholdCurve, TrainingRecord
from tessera.core.config import trained
from tessera.core.data.case import Case
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.data.targets import TargetSpec
from tessera.core.evaluation import (
    ClassPredictions,
    apply_temperature,
    expected_calibration_error,
    fit_temperature,
    sigmoid,
    softmax,
)
from tessera.core.evaluation.thresholds import precision_curves
from tessera.core.network import build_network
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import RunConfig
from tessera.core.training.checkpoints import network_weights
from tessera.core.training.run_folder import Run
from tessera.core.training.scoring import predictions_of, score_cases

LEAST_CALIBRATION_CASES = 10  # a temperature from fewer is noise
WANTED_PRECISION = 0.9  # of the thresholds a bundle is born with; prediction can ask for another
LEAST_PROBABILITY = 1e-7  # float32 holds nothing nearer to 0 or 1


def bundle_of_run(
    run: Run, config: RunConfig, pipeline: Pipeline, manifest: Manifest, split: Split, *, device: str = "auto"
) -> Bundle:
    """Write ``<run>/bundle`` unless it is there, and calibrate it on the validation cases."""
    folder = run.folder / "bundle"
    if folder.exists():
        bundle = Bundle.load(folder)
    else:
        best = run.best if config.trainer.keep == "best" else None
        member = Member(trained(config), network_weights(best or run.last))
        card = _card(run, member, pipeline, manifest, split)
        bundle = write_bundle(folder, pipeline=pipeline, card=card, members=[member])
    val = split.cases(manifest.cases, "val")
    if len(val) < LEAST_CALIBRATION_CASES or bundle.card.target.kind not in ("class", "tags"):
        return bundle
    uncalibrated = update_calibration(bundle, Calibration())
    return update_calibration(bundle, fit_calibration(uncalibrated, val, device=device))


def fit_calibration(bundle: Bundle, cases: Sequence[Case], *, device: str = "auto") -> Calibration:
    """The temperature that makes the validation cases most likely, its effect on the ECE, and thresholds."""
    spec = bundle.card.target
    results = score_cases(bundle, cases, device=device).results
    before = predictions_of(results, spec, target_name=bundle.card.target_name)
    if not isinstance(before, ClassPredictions):
        raise TypeError("only classes and tags have a temperature")
    single = spec.kind == "class"
    p = np.clip(before.probabilities, LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    logits = np.log(p) if single else np.log(p) - np.log1p(-p)
    temperature = fit_temperature(logits, before.target)
    cooled = apply_temperature(logits, temperature)
    after = replace(before, probabilities=softmax(cooled) if single else sigmoid(cooled))
    return with_thresholds(
        Calibration(
            temperature=temperature,
            n=len(before),
            ece_before=expected_calibration_error(before).value,
            ece_after=expected_calibration_error(after).value,
        ),
        after,
    )


def with_thresholds(
    calibration: Calibration, predictions: ClassPredictions, *, precision: float = WANTED_PRECISION
) -> Calibration:
    """Thresholds of each class, each class alone against the rest, for a precision on these predictions."""
    counts = predictions.positive.sum(axis=0).tolist()
    curves = {
        name: ThresholdCurve(
            n_positive=count,
            threshold=tuple(point.threshold for point in points),
            precision=tuple(point.precision for point in points),
            recall=tuple(point.recall for point in points),
        )
        for (name, points), count in zip(precision_curves(predictions).items(), counts, strict=True)
    }
    chosen = {name: curve.choose(precision) for name, curve in curves.items()}
    return calibration.model_copy(
        update={
            "precision": precision,
            "curves": curves,
            "thresholds": {name: one.threshold for name, one in chosen.items()},
            "remarks": {name: one.remark for name, one in chosen.items() if one.remark},
        }
    )


def _card(run: Run, member: Member, pipeline: Pipeline, manifest: Manifest, split: Split) -> Card:
    config = member.config
    target_name = config.data.target
    record = TrainingRecord(
        dataset=manifest.info.id,
        manifest_digest=manifest.digest,
        simulated=manifest.info.simulated,
        licence=manifest.info.licence or "not stated",
        fold=split.fold or None,
        seed=config.seed,
        n_train=len(split.cases(manifest.cases, "train")),
        n_val=len(split.cases(manifest.cases, "val")),
        steps=run.steps,
        code_version=version("tessera-core"),
    )
    return Card(
        pipeline=pipeline.name,
        preset=config.preset,
        task=pipeline.task,
        target_name=target_name,
        target=manifest.target(target_name),
        inputs=pipeline.inputs.description,
        input_shape=pipeline.resolve("windows")(config).input_shape,
        members=1,
        parameters=_count(member, pipeline, manifest.target(target_name)),
        training=(record,),
        licence=f"weights: as the training data allows ({record.licence}); code: {pipeline.licence}",
        citation=pipeline.citation,
        intended_use=pipeline.intended_use,
        limits=pipeline.limits,
        versions={"tessera-core": version("tessera-core"), "torch": version("torch")},
    )


def _count(member: Member, pipeline: Pipeline, target: TargetSpec) -> int:
    with torch.random.fork_rng(devices=[]):  # building draws initial weights
        network = build_network(pipeline, member.config, target)
    return sum(parameter.numel() for parameter in network.parameters() if parameter.requires_grad)
