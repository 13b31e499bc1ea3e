"""What a survey needs to know of a detector: completeness, contamination, and both against brightness.

Completeness is the share of tidal galaxies that is found, the true positive rate. "Contamination" is used in
the literature for two things, which have names of their own here: the **false positive rate**, the share of
plain galaxies that is taken for tidal, which Walmsley et al. (MNRAS 483 (2019) 2968) plot; and the **false
discovery rate**, the share of plain galaxies among those taken for tidal, which depends on how common tidal
galaxies are. Purity is one minus the latter.

Scores are (N,), higher for tidal; ``positive`` is (N,), whether a galaxy is tidal. A galaxy is found at a
threshold when its score is equal or greater.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import NormalDist
from typing import Literal

import numpy as np
import numpy.typing as npt

from tessera.core.errors import DataError
from tessera.core.evaluation import ClassPredictions

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Average = Literal["threshold", "vertical"]

LEVEL = 0.95  # of the intervals
ROC_POINTS = 100  # of an averaged curve, as in the paper's code


@dataclass(frozen=True, eq=False)
class RocCurve:
    """Points (P,) of a receiver operating characteristic, the false positive rate rising.

    Args:
        false_positive_rate: Share of the plain galaxies taken for tidal.
        true_positive_rate: Share of the tidal galaxies found: completeness.
        threshold: Scores from which on a galaxy counts as tidal; NaN where points are no thresholds.
    """

    false_positive_rate: Floats
    true_positive_rate: Floats
    threshold: Floats

    @property
    def auc(self) -> float:
        """Area under the curve by trapezoids, from the first to the last point."""
        return float(np.trapezoid(self.true_positive_rate, self.false_positive_rate))


@dataclass(frozen=True)
class Proportion:
    """A share with its Wilson interval.

    Args:
        hits: How many.
        total: Of how many.
        low: Lower end of the interval, 0 when there are none.
        high: Upper end, 1 when there are none.
    """

    hits: int
    total: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share, NaN when there are none."""
        return self.hits / self.total if self.total else float("nan")


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and what it costs.

    Args:
        threshold: Lowest score that counts as tidal.
        completeness: Share of the tidal galaxies found.
        false_positive_rate: Share of the plain galaxies taken for tidal.
    """

    threshold: float
    completeness: Proportion
    false_positive_rate: Proportion

    def purity(self, prevalence: float) -> float:
        """Share of tidal galaxies among those taken for tidal, where they are so common."""
        return purity_at_prevalence(
            self.completeness.value, self.false_positive_rate.value, prevalence=prevalence
        )


@dataclass(frozen=True)
class CompletenessRow:
    """Completeness of a part of the tidal galaxies.

    Args:
        name: The part: a feature, or a range of surface brightness.
        completeness: Share found.
        low: Lower end of the range in mag/arcsec^2, NaN for a feature.
        high: Upper end, excluded but for the last range; NaN for a feature.
    """

    name: str
    completeness: Proportion
    low: float = float("nan")
    high: float = float("nan")


def wilson(hits: int, total: int, *, level: float = LEVEL) -> Proportion:
    """A share with E. B. Wilson's score interval (JASA 22 (1927) 209), which is never empty at 0 and 1."""
    if not 0 <= hits <= total:
        raise ValueError(f"{hits} of {total} is no share")
    if total == 0:
        return Proportion(0, 0, 0.0, 1.0)
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, weight = hits / total, z * z / total
    middle = (share + weight / 2) / (1 + weight)
    reach = z * ((share * (1 - share) + weight / 4) / total) ** 0.5 / (1 + weight)
    low = 0.0 if hits == 0 else middle - reach  # rounding must not leave the range
    high = 1.0 if hits == total else middle + reach
    return Proportion(hits, total, low, high)


def scores_of(predictions: ClassPredictions, *, positive: str = "tidal") -> tuple[Floats, Bools]:
    """Scores (N,) and truth (N,) of one class of predictions."""
    if positive not in predictions.classes:
        raise DataError(
            f"there is no class '{positive}'", found=", ".join(predictions.classes), hint="name another class"
        )
    place = list(predictions.classes).index(positive)
    return predictions.probabilities[:, place], predictions.positive[:, place]


def roc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> RocCurve:
    """The curve through every threshold, from (0, 0) to (1, 1); equal scores are one step."""
    values, truth = _both_kinds(scores, positive)
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.r_[ranked[1:] != ranked[:-1], True])
    found = np.cumsum(truth[order])[last]
    false = last + 1 - found
    return RocCurve(
        np.r_[0.0, false / (~truth).sum()],
        np.r_[0.0, found / truth.sum()],
        np.r_[np.inf, ranked[last]],
    )


def auc_within(scores: npt.ArrayLike, positive: npt.ArrayLike, stratum: Sequence[Hashable]) -> float:
    """Probability that a tidal galaxy outranks a plain one of its own stratum, such as its type.

    It is what the scores know beyond the strata; NaN where no stratum has galaxies of both kinds.
    """
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    names = np.array([str(name) for name in stratum], dtype=np.str_)
    if not len(values) == len(truth) == len(names):
        raise ValueError(f"{len(values)} scores, {len(truth)} galaxies, {len(names)} strata")
    area = pairs = 0.0
    for name in set(names.tolist()):
        inside = names == name
        both = float(truth[inside].sum()) * float((~truth[inside]).sum())
        if both:
            area += both * roc(values[inside], truth[inside]).auc
            pairs += both
    return area / pairs if pairs else float("nan")


def average_roc(curves: Sequence[RocCurve], *, average: Average, points: int = ROC_POINTS) -> RocCurve:
    """One curve of several runs or folds, ``points`` long.

    ``threshold``: rates at equal thresholds from 1 to 0 are averaged, which takes all runs' scores to mean
    the same (the paper's code does so). ``vertical``: completeness at equal false positive rates from 0 to
    1 is averaged, which looks at ranks alone (T. Fawcett, Pattern Recognition Letters 27 (2006) 861).
    """
    if not curves:
        raise ValueError("there is no curve to average")
    if average == "threshold":
        return _threshold_average(curves, np.linspace(1, 0, points))
    return _vertical_average(curves, np.linspace(0, 1, points))


def roc_of_folds(
    predictions: ClassPredictions, *, average: Average, positive: str = "tidal", points: int = ROC_POINTS
) -> RocCurve:
    """The averaged curve of the folds of pooled predictions."""
    scores, truth = scores_of(predictions, positive=positive)
    names = np.array(predictions.fold, dtype=np.str_)
    curves = [roc(scores[names == name], truth[names == name]) for name in sorted(set(predictions.fold))]
    return average_roc(curves, average=average, points=points)


def false_discovery_rate(
    true_positive_rate: float, false_positive_rate: float, *, prevalence: float
) -> float:
    """Share of plain galaxies among those taken for tidal; NaN where none is.

    Args:
        true_positive_rate: Completeness.
        false_positive_rate: Share of the plain galaxies taken for tidal.
        prevalence: Share of tidal galaxies in the survey.
    """
    for name, value in (
        ("completeness", true_positive_rate),
        ("false positive rate", false_positive_rate),
        ("prevalence", prevalence),
    ):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} {value} is not a share from 0 to 1")
    false = false_positive_rate * (1 - prevalence)
    taken = false + true_positive_rate * prevalence
    return false / taken if taken > 0 else float("nan")


def purity_at_prevalence(
    true_positive_rate: float, false_positive_rate: float, *, prevalence: float
) -> float:
    """Share of tidal galaxies among those taken for tidal, one minus the false discovery rate."""
    return 1 - false_discovery_rate(true_positive_rate, false_positive_rate, prevalence=prevalence)


def at_false_positive_rate(
    scores: npt.ArrayLike, positive: npt.ArrayLike, *, most: float = 0.2, level: float = LEVEL
) -> OperatingPoint:
    """The lowest threshold with a false positive rate of ``most`` or less, with Wilson intervals.

    The interval of the completeness takes the threshold as given.
    """
    values, truth = _both_kinds(scores, positive)
    curve = roc(values, truth)
    allowed = np.flatnonzero(curve.false_positive_rate <= most + 1e-12)  # 0.2 of 5 is one
    threshold = float(curve.threshold[allowed[-1]])
    found = values >= threshold
    return OperatingPoint(
        threshold,
        wilson(int((found & truth).sum()), int(truth.sum()), level=level),
        wilson(int((found & ~truth).sum()), int((~truth).sum()), level=level),
    )


def completeness_by_brightness(
    found: npt.ArrayLike, brightness: npt.ArrayLike, *, edges: Sequence[float], level: float = LEVEL
) -> tuple[CompletenessRow, ...]:
    """Completeness of tidal galaxies in ranges of their features' mean surface brightness.

    Args:
        found: (N,) whether each tidal galaxy is found.
        brightness: (N,) in mag/arcsec^2; those outside all ranges and NaN are left out.
        edges: Of the ranges, rising, in mag/arcsec^2.
        level: Of the intervals.
    """
    if len(edges) < 2 or any(b <= a for a, b in pairwise(edges)):
        raise ValueError(f"the edges {list(edges)} do not rise, or are fewer than two")
    hits, mu = np.asarray(found, dtype=np.bool_), np.asarray(brightness, dtype=np.float64)
    rows = []
    for low, high in pairwise(edges):
        inside = (mu >= low) & ((mu < high) | ((mu == high) & (high == edges[-1])))
        share = wilson(int((hits & inside).sum()), int(inside.sum()), level=level)
        rows.append(CompletenessRow(f"{low:g} to {high:g}", share, low, high))
    return tuple(rows)


def completeness_by_feature(
    found: npt.ArrayLike, feature: Sequence[Hashable], *, level: float = LEVEL
) -> tuple[CompletenessRow, ...]:
    """Completeness of tidal galaxies by the name of their feature, in alphabetical order."""
    hits = np.asarray(found, dtype=np.bool_)
    names = np.array([str(name) for name in feature], dtype=np.str_)
    if names.shape != hits.shape:
        raise ValueError(f"{len(names)} features of {len(hits)} galaxies")
    return tuple(
        CompletenessRow(name, wilson(int(hits[names == name].sum()), int((names == name).sum()), level=level))
        for name in sorted(set(names.tolist()))
    )


def _threshold_average(curves: Sequence[RocCurve], thresholds: Floats) -> RocCurve:
    false, true = [], []
    for curve in curves:
        # A curve's thresholds fall; those equal or greater than t lead up to the point that t stands for.
        place = np.searchsorted(-curve.threshold, -thresholds, side="right") - 1
        false.append(curve.false_positive_rate[place])
        true.append(curve.true_positive_rate[place])
    return RocCurve(np.mean(false, axis=0), np.mean(true, axis=0), thresholds)


def _vertical_average(curves: Sequence[RocCurve], rates: Floats) -> RocCurve:
    true = [_highest_at(curve, rates) for curve in curves]
    return RocCurve(rates, np.mean(true, axis=0), np.full(rates.shape, np.nan))


def _highest_at(curve: RocCurve, rates: Floats) -> Floats:
    """Completeness at the rates, straight between points; where a curve is vertical, its upper end."""
    last = np.r_[curve.false_positive_rate[1:] != curve.false_positive_rate[:-1], True]
    return np.interp(rates, curve.false_positive_rate[last], curve.true_positive_rate[last])


def _both_kinds(scores: npt.ArrayLike, positive: npt.ArrayLike) -> tuple[Floats, Bools]:
    values, truth = np.asarray(scores, dtype=np.float64), np.asarray(positive, dtype=np.bool_)
    if values.shape != truth.shape or values.ndim != 1:
        raise ValueError(f"scores {values.shape} and truth {truth.shape} must be two lists of one length")
    if not np.isfinite(values).all():
        raise DataError("some scores are not finite numbers", found=f"{(~np.isfinite(values)).sum()} of them")
    if truth.all() or not truth.any():
        raise DataError(
            "completeness and false positives need galaxies of both kinds",
            found=f"{int(truth.sum())} tidal and {int((~truth).sum())} plain ones",
        )
    return values, truth
