"""What a search for tidal features is worth, beside the metrics of a classifier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tessera.astronomy.metrics import (
    CompletenessRow,
    OperatingPoint,
    Proportion,
    at_false_positive_rate,
    completeness_by_brightness,
    completeness_by_feature,
    false_discovery_rate,
    scores_of,
)
from tessera.core.config import Config, validate
from tessera.core.data.case import Case
from tessera.core.evaluation import ClassPredictions, Predictions, bootstrap_interval, format_estimate, take
from tessera.core.evaluation.measures import Cell, FieldTable
from tessera.core.evaluation.metrics import Metric, Score, auroc_macro
from tessera.core.run_config import Fraction

BRIGHTNESS, FEATURE = "mu", "feature"  # columns of the manifest: mag/arcsec^2, and what the feature is
TYPE = "T"  # column of the manifest: morphological type
LEAST_OF_A_TYPE = 5  # galaxies of each kind; fewer have no interval worth the name
BOOTSTRAP_SEED = 0
NOTE = (
    "Intervals: Wilson, 95 %. The false positive rate is the share of plain galaxies taken for tidal; the "
    "false discovery rate is the share of plain galaxies among those taken for tidal. Papers call either of "
    "them contamination."
)
WITHIN_NOTE = (
    "AUROC: probability that a tidal galaxy outranks a plain one; within one type, one of its own type, so "
    "that knowing types is worth nothing. Intervals: 95 %, by bootstrap over groups."
)


class TidalMeasures(Config):
    """What a person can choose of the measures."""

    positive: str = Field("tidal", description="the class that is searched for")
    prevalence: tuple[Fraction, ...] = Field(
        (0.12,), description="shares of tidal galaxies in a survey, for which the purity is given"
    )
    false_positive_rates: tuple[Fraction, ...] = Field((0.05, 0.1, 0.2), description="operating points")
    reference_rate: Fraction = Field(0.2, description="the one for completeness by brightness and feature")
    brightness_edges: tuple[float, ...] = Field(
        (23.0, 24.0, 25.0, 25.5, 26.0, 26.5, 27.0, 27.5, 28.0), description="ranges of mu, mag/arcsec^2"
    )


def tidal_measures(
    predictions: Predictions, cases: Sequence[Case], *, values: Mapping[str, Any]
) -> tuple[FieldTable, ...]:
    """Completeness and both contaminations at operating points; completeness by brightness and feature."""
    chosen = validate(TidalMeasures, values, source="options of the measures")
    if not isinstance(predictions, ClassPredictions) or chosen.positive not in predictions.classes:
        return ()
    scores, positive = scores_of(predictions, positive=chosen.positive)
    if not positive.any() or positive.all():
        return ()
    tables = [_points(scores, positive, chosen)]
    reference = at_false_positive_rate(scores, positive, most=chosen.reference_rate)
    found = scores[positive] >= reference.threshold
    tidal = [case for case, is_tidal in zip(cases, positive, strict=True) if is_tidal]
    rate = f"at a false positive rate of {100 * chosen.reference_rate:g} %"
    mu = np.array([float(case.meta.get(BRIGHTNESS) or "nan") for case in tidal])
    if np.isfinite(mu).any():
        rows = completeness_by_brightness(found, mu, edges=chosen.brightness_edges)
        tables.append(_completeness(f"Completeness {rate}, by surface brightness", "mu, mag/arcsec²", rows))
    features = [case.meta.get(FEATURE, "") for case in tidal]
    if any(features):
        rows = completeness_by_feature(found, features)
        tables.append(_completeness(f"Completeness {rate}, by feature", "feature", rows))
    types = [case.meta.get(TYPE, "") for case in cases]
    if any(types):
        tables.append(_by_type(_one_against_the_rest(predictions, scores, positive, chosen.positive), types))
    return tuple(tables)


def auroc_within(strata: Sequence[str]) -> Metric[ClassPredictions]:
    """The metric of ``metrics.auc_within`` for resampled cases of two classes, in N strata."""
    names = np.array(strata, dtype=np.str_)
    places = [np.flatnonzero(names == name) for name in sorted(set(strata))]

    def metric(predictions: ClassPredictions, counts: npt.NDArray[np.float64] | None = None, /) -> Score:
        drawn = np.ones((1, len(predictions))) if counts is None else counts
        area, pairs = np.zeros(len(drawn)), np.zeros(len(drawn))
        for place in places:
            inside, of_these = drawn[:, place], predictions.positive[place, 1]
            both = inside[:, of_these].sum(axis=1) * inside[:, ~of_these].sum(axis=1)
            found = auroc_macro(take(predictions, place), inside).values
            area += np.where(both > 0, both * found, 0.0)
            pairs += both
        values = np.divide(area, pairs, out=np.full(len(drawn), np.nan), where=pairs > 0)
        reason = "no stratum has galaxies of both kinds" if np.isnan(values).any() else None
        return Score(values, np.zeros(len(drawn), dtype=np.int64), reason)

    return metric


def _one_against_the_rest(
    predictions: ClassPredictions,
    scores: npt.NDArray[np.float64],
    positive: npt.NDArray[np.bool_],
    name: str,
) -> ClassPredictions:
    both = np.stack([1 - scores, scores], axis=1)
    return ClassPredictions(
        predictions.case_id, predictions.group, positive.astype(np.int64), both, (f"not {name}", name)
    )


def _by_type(predictions: ClassPredictions, types: Sequence[str]) -> FieldTable:
    """AUROC of all galaxies, within types, and of each type that has some galaxies of both kinds."""
    names = np.array(types, dtype=np.str_)
    rows = [
        _area("all", predictions, auroc_macro),
        _area("within one type", predictions, auroc_within(types)),
    ]
    for name in sorted(set(types), key=_by_number):
        inside = take(predictions, np.flatnonzero(names == name))
        if min(inside.target.sum(), len(inside) - inside.target.sum()) >= LEAST_OF_A_TYPE:
            rows.append(_area(name or "unknown", inside, auroc_macro))
    columns = ("type T", "tidal galaxies", "plain galaxies", "AUROC")
    return FieldTable("Within one morphological type", columns, tuple(rows), WITHIN_NOTE)


def _area(name: str, predictions: ClassPredictions, metric: Metric[ClassPredictions]) -> tuple[Cell, ...]:
    tidal = int(predictions.target.sum())
    estimate = bootstrap_interval(metric, predictions, seed=BOOTSTRAP_SEED)
    return name, tidal, len(predictions) - tidal, format_estimate(estimate)


def _by_number(name: str) -> tuple[float, str]:
    try:
        return float(name), name
    except ValueError:
        return np.inf, name


def _points(
    scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_], chosen: TidalMeasures
) -> FieldTable:
    sample = float(positive.mean())
    points = [at_false_positive_rate(scores, positive, most=rate) for rate in chosen.false_positive_rates]
    purities = tuple(f"purity at {100 * share:g} % tidal" for share in chosen.prevalence)
    return FieldTable(
        title="Completeness and contamination",
        columns=(
            "threshold",
            "completeness",
            "false positive rate",
            f"false discovery rate here ({100 * sample:.0f} % tidal)",
            *purities,
        ),
        rows=tuple((point.threshold, *_shares(point, sample), *_purities(point, chosen)) for point in points),
        note=NOTE,
    )


def _shares(point: OperatingPoint, prevalence: float) -> tuple[Cell, ...]:
    discovered = false_discovery_rate(
        point.completeness.value, point.false_positive_rate.value, prevalence=prevalence
    )
    return _interval(point.completeness), _interval(point.false_positive_rate), discovered


def _purities(point: OperatingPoint, chosen: TidalMeasures) -> tuple[float, ...]:
    return tuple(point.purity(share) for share in chosen.prevalence)


def _completeness(title: str, part: str, rows: Sequence[CompletenessRow]) -> FieldTable:
    return FieldTable(
        title=title,
        columns=(part, "tidal galaxies", "completeness"),
        rows=tuple(
            (row.name, row.completeness.total, _interval(row.completeness))
            for row in rows
            if row.completeness.total
        ),
    )


def _interval(share: Proportion) -> str:
    return f"{share.value:.3f} [{share.low:.3f}, {share.high:.3f}]"
