"""Are two recordings of one speaker? Error rates of scored trials, with intervals over speakers (no torch).

The definitions are those of Wang et al., "EfficientTDNN", arXiv 2103.13581, and of NIST's evaluations.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tessera.core.errors import DataError
from tessera.core.evaluation.bootstrap import Estimate

Floats = npt.NDArray[np.float64]

P_TARGET = 0.01  # how often a trial is of one speaker where the minimal cost is meant to hold
COLUMNS = ("enrol", "test")
SAME = {"1": True, "true": True, "target": True, "0": False, "false": False, "nontarget": False}


class Trial(NamedTuple):
    """Two recordings, and whether they are of one speaker; None where nobody knows."""

    enrol: str
    test: str
    same: bool | None


@dataclass(frozen=True, eq=False)
class ScoredTrials:
    """N trials.

    Args:
        scores: (N,) higher for one speaker.
        first: (N,) speaker of one recording.
        second: (N,) speaker of the other.
    """

    scores: Floats
    first: npt.NDArray[np.str_]
    second: npt.NDArray[np.str_]

    @property
    def same(self) -> npt.NDArray[np.bool_]:
        """(N,) whether a trial is of one speaker."""
        return self.first == self.second


class ErrorRates(NamedTuple):
    """At each threshold, from above all scores to below them (M + 1,).

    Args:
        false_alarm: Share of the trials of two speakers that is accepted.
        miss: Share of the trials of one speaker that is refused.
    """

    false_alarm: Floats
    miss: Floats


def error_rates(scores: npt.ArrayLike, same: npt.ArrayLike, weights: npt.ArrayLike = 1.0) -> ErrorRates:
    """Error rates of scores (N,) of trials that are of one speaker or not (N,), each with its weight."""
    score, target = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=bool)
    weight = np.broadcast_to(np.asarray(weights, dtype=np.float64), score.shape)
    if score.ndim != 1 or score.shape != target.shape or not np.isfinite(score).all():
        raise DataError(
            "the scores do not fit the trials",
            found=f"scores of shape {score.shape}, trials of shape {target.shape}",
            expected="one finite score a trial",
        )
    order = np.argsort(-score, kind="stable")
    return _rates(score[order], target[order], weight[order])


def _rates(score: Floats, target: npt.NDArray[np.bool_], weight: Floats) -> ErrorRates:
    """Error rates of trials in falling order of their scores; NaN where one kind of trial is missing."""
    hits, alarms = np.cumsum(weight * target), np.cumsum(weight * ~target)
    last = np.append(np.flatnonzero(np.diff(score)), len(score) - 1)  # equal scores fall together
    with np.errstate(invalid="ignore"):
        found = [np.append(0.0, total[last]) / total[-1] for total in (hits, alarms)]
    return ErrorRates(false_alarm=found[1], miss=1.0 - found[0])


def equal_error_rate(rates: ErrorRates) -> float:
    """Where misses are as frequent as false alarms, on straight lines between thresholds, or NaN."""
    surplus = rates.miss - rates.false_alarm  # falls from 1 to -1
    if np.isnan(surplus).any():
        return math.nan
    after = int(np.argmax(surplus <= 0.0))
    before = after - 1
    share = surplus[before] / (surplus[before] - surplus[after])
    low, high = rates.false_alarm[before], rates.false_alarm[after]
    return float(low + share * (high - low))


def min_dcf(
    rates: ErrorRates, *, p_target: float = P_TARGET, c_miss: float = 1.0, c_false_alarm: float = 1.0
) -> float:
    """Least detection cost over all thresholds, 1 for whoever always gives the cheaper answer."""
    miss, false_alarm = c_miss * p_target, c_false_alarm * (1.0 - p_target)
    return float(np.min(miss * rates.miss + false_alarm * rates.false_alarm) / min(miss, false_alarm))


def estimate(
    metric: Callable[[ErrorRates], float],
    trials: ScoredTrials,
    *,
    n_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A metric and its percentile interval over speakers drawn with replacement.

    A speaker drawn twice counts twice in the trials of that speaker; a trial of two speakers counts as often
    as both were drawn.
    """
    order = np.argsort(-trials.scores, kind="stable")
    score, same = trials.scores[order], trials.same[order]
    names, number = np.unique(np.concatenate([trials.first, trials.second]), return_inverse=True)
    first, second = number[: len(score)][order], number[len(score) :][order]
    value = metric(_rates(score, same, np.ones(len(score))))
    draws = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), n_resamples
    )
    drawn = np.array(
        [metric(_rates(score, same, np.where(same, n[first], n[first] * n[second]))) for n in draws]
    )
    defined = drawn[~np.isnan(drawn)]
    low, high = math.nan, math.nan
    reason = "no interval from fewer than three speakers" if len(names) < 3 else None
    if reason is None and len(defined):
        low, high = map(float, np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]))
    if math.isnan(value):
        reason = "trials of one speaker and of two are both needed"
    return Estimate(
        value, low, high, level, n_resamples, n_undefined=len(drawn) - len(defined), reason=reason
    )


def all_pairs(embeddings: npt.ArrayLike, speakers: Sequence[str]) -> ScoredTrials:
    """Every two of R recordings, scored by the cosine between their embeddings (R, E)."""
    unit = _unit(np.asarray(embeddings, dtype=np.float64))
    first, second = np.triu_indices(len(unit), k=1)
    names = np.asarray(speakers, dtype=np.str_)
    return ScoredTrials((unit @ unit.T)[first, second], names[first], names[second])


def cosine(one: npt.ArrayLike, other: npt.ArrayLike) -> Floats:
    """Cosine of the angle between embeddings (..., E), (...,)."""
    scores: Floats = (_unit(np.asarray(one, np.float64)) * _unit(np.asarray(other, np.float64))).sum(axis=-1)
    return scores


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = vectors / np.where(length > 0, length, 1.0)
    return unit


def read_trials(path: Path) -> list[Trial]:
    """A CSV file with the columns enrol and test, and same (1 or 0) where it is known."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot read {path}", found=error, expected="a CSV file in UTF-8") from None
    reader = csv.DictReader(text.splitlines())
    if not set(COLUMNS) <= set(reader.fieldnames or ()):
        raise DataError(
            f"{path} is no list of trials",
            found=f"columns {', '.join(reader.fieldnames or ()) or '(none)'}",
            expected="enrol, test and, where it is known, same",
        )
    trials = []
    for row in reader:
        known = (row.get("same") or "").strip().lower()
        if (known and known not in SAME) or not row["enrol"] or not row["test"]:
            raise DataError(
                f"{path}, line {reader.line_num}: not a trial",
                found=", ".join(str(value) for value in row.values()),
                expected="two recordings, and 1 or 0 in the column same",
            )
        trials.append(Trial(row["enrol"], row["test"], SAME.get(known)))
    if not trials:
        raise DataError(f"{path} lists no trial")
    return trials
