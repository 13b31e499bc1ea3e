"""Areas under ranking curves for many resamples at once, ties counted exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from tessera.core.evaluation.metrics._score import ratio
from tessera.core.evaluation.predictions import FloatArray

_BLOCK = 1 << 20  # counts held at once: 8 MiB, which bounds memory and stays near the cache


def area_under_roc(
    scores: FloatArray, positive: NDArray[np.bool_], counts: FloatArray, case: NDArray[np.int64] | None = None
) -> FloatArray:
    """Probability that a positive outranks a negative, ties one half; (R,).

    Args:
        scores: (M,).
        positive: (M,).
        counts: (R, N), how often each case was drawn.
        case: (M,) the case each score belongs to; by default score i belongs to case i.
    """

    def area(hits: FloatArray, misses: FloatArray) -> FloatArray:
        at_or_above = np.cumsum(misses, axis=1)
        negatives = at_or_above[:, -1]
        outranked = negatives[:, None] - at_or_above + misses / 2
        return ratio((hits * outranked).sum(axis=1), hits.sum(axis=1) * negatives)

    return _over_resamples(area, scores, positive, counts, case)


def area_under_precision_recall(
    scores: FloatArray, positive: NDArray[np.bool_], counts: FloatArray, case: NDArray[np.int64] | None = None
) -> FloatArray:
    """Average precision: precision at each threshold weighted by the recall it adds; (R,).

    Arguments are those of ``area_under_roc``.
    """

    def area(hits: FloatArray, misses: FloatArray) -> FloatArray:
        found = np.cumsum(hits, axis=1)
        precision = ratio(found, found + np.cumsum(misses, axis=1))
        # A threshold nobody of this resample reached has no precision, and adds no recall either.
        return ratio((hits * np.nan_to_num(precision)).sum(axis=1), found[:, -1])

    return _over_resamples(area, scores, positive, counts, case)


def _over_resamples(
    area: Callable[[FloatArray, FloatArray], FloatArray],
    scores: FloatArray,
    positive: NDArray[np.bool_],
    counts: FloatArray,
    case: NDArray[np.int64] | None,
) -> FloatArray:
    """Give ``area`` the positives and negatives at each distinct score, highest first, block by block."""
    if scores.size == 0:
        return np.full(len(counts), np.nan)
    order = np.argsort(-scores, kind="stable")
    ranked = scores[order]
    starts = np.flatnonzero(np.r_[True, ranked[1:] != ranked[:-1]])
    columns = order if case is None else case[order]
    positives = positive[order].astype(np.float64)
    values = [np.empty(0)]
    for block in _blocks(len(counts), scores.size):
        drawn = counts[block][:, columns]
        hits = np.add.reduceat(drawn * positives, starts, axis=1)
        values.append(area(hits, np.add.reduceat(drawn, starts, axis=1) - hits))
    return np.concatenate(values)


def _blocks(n_rows: int, row_size: int) -> Iterator[slice]:
    step = max(1, _BLOCK // row_size)
    return (slice(start, start + step) for start in range(0, n_rows, step))
