"""Percentile intervals by drawing whole groups with replacement.

Cases of one group (a patient, a recording, a site) resemble each other, so a group is drawn as a whole: the
interval says how the metric would move with other groups. Predictions pooled over folds are
resampled as one set.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from typing import TypeVar

import numpy as np

from tessera.core.errors import DataError
from tessera.core.evaluation.metrics import Metric, Score
from tessera.core.evaluation.predictions import SHARED, FloatArray, Predictions, list_some, take

P = TypeVar("P", bound=Predictions)

_BLOCK = 1 << 22  # counts drawn at once: 32 MiB
_TOO_FEW_GROUPS = "no interval from fewer than two groups"


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A metric with its interval; NaN, with the reason, for what is not defined.

    Args:
        value: The metric on all cases.
        low: Lower end of the interval.
        high: Upper end of the interval.
        level: Share of resamples inside the interval.
        n_resamples: Resamples drawn.
        n_undefined: Resamples without a value, which the interval leaves out.
        n_skipped: Classes left out of a mean over classes.
        reason: Why the value or the interval is not defined.
    """

    value: float
    low: float
    high: float
    level: float
    n_resamples: int
    n_undefined: int = 0
    n_skipped: int = 0
    reason: str | None = None


@dataclasses.dataclass(frozen=True)
class PairedDifference:
    """A metric of one model minus that of another on the same cases, with its interval.

    Args:
        difference: Metric of the first minus metric of the second, on all cases.
        low: Lower end of the interval.
        high: Upper end of the interval.
        fraction_not_above_zero: Share of resamples in which the first is not above the second.
        level: Share of resamples inside the interval.
        n_resamples: Resamples drawn.
        n_undefined: Resamples without a difference, which interval and fraction leave out.
        reason: Why the difference or the interval is not defined.
    """

    difference: float
    low: float
    high: float
    fraction_not_above_zero: float
    level: float
    n_resamples: int
    n_undefined: int = 0
    reason: str | None = None


def bootstrap_interval(
    metric: Metric[P],
    predictions: P,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int | np.random.Generator,
) -> Estimate:
    """A metric and its percentile interval over resampled groups."""
    whole = metric(predictions)
    drawn = _resampled(lambda counts: metric(predictions, counts).values, predictions, n_resamples, seed)
    low, high = _percentiles(drawn, level)
    return Estimate(
        value=whole.value,
        low=low,
        high=high,
        level=level,
        n_resamples=n_resamples,
        n_undefined=int(np.isnan(drawn).sum()),
        n_skipped=whole.n_skipped,
        reason=_reason(predictions, whole),
    )


def paired_difference(
    metric: Metric[P],
    first: P,
    second: P,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int | np.random.Generator,
) -> PairedDifference:
    """Metric of ``first`` minus metric of ``second``, both on the same resamples of the same cases."""
    second = aligned(second, first)
    scores = metric(first), metric(second)
    drawn = _resampled(
        lambda counts: metric(first, counts).values - metric(second, counts).values, first, n_resamples, seed
    )
    low, high = _percentiles(drawn, level)
    defined = drawn[~np.isnan(drawn)]
    return PairedDifference(
        difference=scores[0].value - scores[1].value,
        low=low,
        high=high,
        fraction_not_above_zero=float((defined <= 0).mean()) if defined.size else np.nan,
        level=level,
        n_resamples=n_resamples,
        n_undefined=drawn.size - defined.size,
        reason=_reason(first, *scores),
    )


def aligned(predictions: P, like: P) -> P:
    """The predictions in the case order of ``like``; cases, groups, targets and classes must agree."""
    row = {case: i for i, case in enumerate(predictions.case_id)}
    missing = [case for case in like.case_id if case not in row]
    extra = sorted(set(row) - set(like.case_id))
    if missing or extra:
        raise DataError(
            "the two predictions are of different cases",
            found=f"only in the first: {list_some(missing)}; only in the second: {list_some(extra)}",
            expected="the same cases in both",
            hint="evaluate both models on the same split",
        )
    for name in SHARED:
        _refuse_difference(name, getattr(predictions, name, None), getattr(like, name, None))
    ordered = take(predictions, [row[case] for case in like.case_id])
    for name in ("group", "target"):
        if not hasattr(like, name):
            continue
        pairs = zip(like.case_id, getattr(ordered, name), getattr(like, name), strict=True)
        changed = [case for case, ours, theirs in pairs if np.any(ours != theirs)]
        if changed:
            raise DataError(f"'{name}' differs between the two predictions", found=f"in {list_some(changed)}")
    return ordered


def _refuse_difference(name: str, second: object, first: object) -> None:
    if first != second:
        raise DataError(f"'{name}' differs between the two predictions", found=second, expected=first)


def group_counts(
    predictions: Predictions, *, n_resamples: int, seed: int | np.random.Generator
) -> Iterator[FloatArray]:
    """How often each resample draws each case, as blocks (R, N) that add up to ``n_resamples`` rows."""
    generator = np.random.default_rng(seed)
    names, group = np.unique(np.array(predictions.group, dtype=np.str_), return_inverse=True)
    share = np.full(names.size, 1 / names.size)
    step = max(1, _BLOCK // max(1, len(predictions)))
    for start in range(0, n_resamples, step):
        rows = min(step, n_resamples - start)
        drawn = generator.multinomial(names.size, share, size=rows)
        yield drawn[:, group].astype(np.float64)


def _resampled(
    values: Callable[[FloatArray], FloatArray],
    predictions: Predictions,
    n_resamples: int,
    seed: int | np.random.Generator,
) -> FloatArray:
    if predictions.n_groups < 2:
        return np.full(n_resamples, np.nan)
    blocks = group_counts(predictions, n_resamples=n_resamples, seed=seed)
    return np.concatenate([values(counts) for counts in blocks])


def _percentiles(drawn: FloatArray, level: float) -> tuple[float, float]:
    defined = drawn[~np.isnan(drawn)]
    if not defined.size:
        return np.nan, np.nan
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _reason(predictions: Predictions, *scores: Score) -> str | None:
    reasons = [score.reason for score in scores if score.reason]
    if reasons:
        return reasons[0]
    return _TOO_FEW_GROUPS if predictions.n_groups < 2 else None
