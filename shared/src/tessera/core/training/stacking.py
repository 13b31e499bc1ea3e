"""Ensembles of finished networks: their probabilities pooled, weighed, or fused by a logistic regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from tessera.core.bundle.bundle import Bundle
from tessera.core.bundle.card import MemberFusion
from tessera.core.data.case import Case
from tessera.core.data.targets import encode_target
from tessera.core.errors import ConfigError, DataError
from tessera.core.evaluation import (
    ClassPredictions,
    ManyValuePredictions,
    MaskPredictions,
    ValuePredictions,
    pool,
    take,
)
from tessera.core.inference.fusion import FusionRule, fuse
from tessera.core.inference.member_fusion import class_features, fuse_members, tag_features
from tessera.core.inference.score import Scores, score
from tessera.core.inference.steps import ForwardPass, Steps, choose_device
from tessera.core.training.scoring import AnyPredictions

FloatArray = npt.NDArray[np.float64]

STRENGTH = 0.1  # inverse of the penalty on squared weights; scikit-learn's C


def align(members: Sequence[AnyPredictions]) -> list[AnyPredictions]:
    """The cases that all members predicted, in one order."""
    if any(isinstance(member, MaskPredictions) for member in members):
        raise ConfigError(
            "masks are not fused from their scores",
            hint="tessera bundle combine makes one bundle of several networks",
        )
    common = set.intersection(*(set(member.case_id) for member in members))
    if not common:
        raise DataError("the members of the ensemble have no case in common")
    order = [case for case in members[0].case_id if case in common]
    aligned: list[AnyPredictions] = []
    for member in members:
        place = {case: i for i, case in enumerate(member.case_id)}
        aligned.append(take(member, [place[case] for case in order]))
    first = aligned[0]
    for other in aligned[1:]:
        if not np.array_equal(_target(first), _target(other)) or _classes(first) != _classes(other):
            raise DataError("the members of the ensemble were not asked for the same classes or targets")
    return aligned


def pooled(
    members: Sequence[AnyPredictions], *, rule: FusionRule = "mean", weights: Sequence[float] = ()
) -> AnyPredictions:
    """One answer a case: the sum rule, another rule, or a mean with a share for each member."""
    aligned = align(members)
    first = aligned[0]
    if not isinstance(first, ClassPredictions):
        return _pooled_values(aligned, weights)
    stack = _probabilities(aligned)
    task = _task(first)
    if weights:
        if rule != "mean":
            raise ConfigError("weights are shares of a mean", found=f"fusion {rule}", expected="mean")
        fused = fuse_members(stack, MemberFusion(weights=tuple(weights)), task=task)
    else:
        fused = fuse(stack, task=task, rule=rule)
    return replace(first, probabilities=fused)


def cross_fused(members: Sequence[AnyPredictions]) -> AnyPredictions:
    """Learned fusion, cross-fitted: what is said of a fold was learnt from the other folds' predictions.

    Each member's predictions must be of cases it did not train on.
    """
    aligned = align(members)
    folds = list(dict.fromkeys(aligned[0].fold))
    if len(folds) < 2:
        raise ConfigError(
            "learned fusion needs predictions of two folds or more",
            found=f"folds {', '.join(folds) or 'none'}",
            hint="run more folds, or take fusion: mean",
        )
    parts: list[AnyPredictions] = []
    for fold in folds:
        inside = np.array([name == fold for name in aligned[0].fold])
        learn, apply = (
            [take(member, np.flatnonzero(rows)) for member in aligned] for rows in (~inside, inside)
        )
        known, first = learn[0], apply[0]
        if not isinstance(known, ClassPredictions) or not isinstance(first, ClassPredictions):
            raise ConfigError("only classes and tags have a learned fusion", expected="fusion: mean")
        fusion = fit_fusion(_probabilities(learn), known.target, classes=first.classes)
        fused = fuse_members(_probabilities(apply), fusion, task=_task(first))
        parts.append(replace(first, probabilities=fused))
    joined = pool(parts)
    place = {case: i for i, case in enumerate(joined.case_id)}
    return take(joined, [place[case] for case in aligned[0].case_id])


def fit_fusion(
    stack: FloatArray,
    target: npt.NDArray[np.int64],
    *,
    classes: Sequence[str],
    weight: FloatArray | None = None,
) -> MemberFusion:
    """Logistic regression with a penalty on the members' logits.

    Args:
        stack: Probabilities (M, N, K) of cases no member trained on.
        target: (N,) classes, or (N, K) tags.
        classes: Names of the K.
        weight: How much each of the N counts.
    """
    n = round(len(target) if weight is None else float(weight.sum()))
    if target.ndim == 2:
        matrix, bias = _fit_tags(tag_features(stack), target, weight)
    else:
        matrix, bias = _fit_classes(class_features(stack), target, classes, weight)
    return MemberFusion(matrix=tuple(map(tuple, matrix.tolist())), bias=tuple(bias.tolist()), n=n)


def learn_fusion(bundle: Bundle, cases: Sequence[Case], *, device: str = "auto") -> MemberFusion:
    """A combined bundle's fusion from labelled cases that none of its members trained on.

    It is learnt from windows, as it is applied to them; each case counts once.
    """
    spec = bundle.card.target
    if spec.is_measured:
        raise ConfigError("only classes and tags have a learned fusion", expected="fusion: mean")
    results = [found.results for found in _scores_by_member(bundle, cases, device=device)]
    first = results[0]
    if not first or any([r.case.id for r in other] != [r.case.id for r in first] for other in results):
        raise DataError("not one case could be scored by all members", hint="look at the log for the causes")
    windows = [len(result.scores) for result in first]
    target = np.stack(
        [encode_target(spec, r.case.targets[bundle.card.target_name], case_id=r.case.id) for r in first]
    )
    return fit_fusion(
        np.stack([np.concatenate([result.scores for result in member]) for member in results]),
        np.repeat(target, windows, axis=0).astype(np.int64),
        classes=spec.classes,
        weight=np.repeat(1.0 / np.array(windows), windows),
    )


def _scores_by_member(bundle: Bundle, cases: Sequence[Case], *, device: str) -> Iterator[Scores]:
    steps = Steps.from_bundle(bundle, device=device)
    options = bundle.config.inference
    for network in bundle.networks():
        forward = ForwardPass(
            [network],
            task=bundle.card.target.kind,
            batch_size=options.batch_size,
            device=choose_device(device),
            temperature=bundle.calibration.temperature,
            fusion=options.fusion,
            tta=options.tta,
        )
        yield score(replace(steps, forward=forward), cases)


def _fit_classes(
    features: FloatArray, target: npt.NDArray[np.int64], classes: Sequence[str], weight: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    missing = [name for k, name in enumerate(classes) if not (target == k).any()]
    if missing:
        raise DataError(
            "learned fusion needs cases of every class", found=f"none of {', '.join(missing[:5])}"
        )
    coefficients, bias = _regression(features, target, weight)
    if len(classes) == 2:  # one row, for the second class
        return np.stack([-coefficients[0], coefficients[0]]) / 2, np.array([-bias[0], bias[0]]) / 2
    return coefficients, bias


def _fit_tags(
    features: FloatArray, target: npt.NDArray[np.int64], weight: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    n_tags, members = features.shape[1:]
    matrix, bias = np.full((n_tags, members), 1.0 / members), np.zeros(n_tags)
    for k in range(n_tags):
        if 0 < target[:, k].sum() < len(target):  # else the mean of the log-odds
            coefficients, offset = _regression(features[:, k], target[:, k], weight)
            matrix[k], bias[k] = coefficients[0], offset[0]
    return matrix, bias


def _regression(
    features: FloatArray, target: npt.NDArray[np.int64], weight: FloatArray | None
) -> tuple[FloatArray, FloatArray]:
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=STRENGTH, max_iter=2000, tol=1e-6)
    model.fit(features, target, sample_weight=weight)
    return model.coef_.astype(np.float64), model.intercept_.astype(np.float64)


def _pooled_values(
    members: Sequence[AnyPredictions], weights: Sequence[float]
) -> ValuePredictions | ManyValuePredictions:
    values = [member for member in members if isinstance(member, ValuePredictions | ManyValuePredictions)]
    deviations = [member.std for member in values if member.std is not None]
    if weights or len(deviations) < len(values):
        raise ConfigError("numbers are fused by plain means, with their standard deviations")
    stack = np.stack(
        [
            np.stack([member.mean, 2 * np.log(std)], axis=-1)
            for member, std in zip(values, deviations, strict=True)
        ]
    )
    fused = fuse(stack, task="number")
    return replace(values[0], mean=fused[..., 0], std=np.exp(fused[..., 1] / 2))


def _probabilities(members: Sequence[AnyPredictions]) -> FloatArray:
    return np.stack([member.probabilities for member in members if isinstance(member, ClassPredictions)])


def _target(predictions: AnyPredictions) -> npt.NDArray[np.generic]:
    return predictions.values if isinstance(predictions, MaskPredictions) else predictions.target


def _classes(predictions: AnyPredictions) -> Sequence[str]:
    return predictions.classes if isinstance(predictions, ClassPredictions) else ()


def _task(predictions: AnyPredictions) -> Literal["class", "tags"]:
    return "tags" if predictions.task == "multilabel" else "class"
