"""From several answers (members, test-time changes, windows) to one; float64 inside."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

Task = Literal["class", "tags", "number", "numbers", "mask"]
FusionRule = Literal["mean", "geometric", "max"]

_SMALLEST = 1e-30  # keeps log finite; far below what float32 probabilities tell apart


def fuse(stack: npt.ArrayLike, *, task: Task, rule: FusionRule = "mean") -> npt.NDArray[np.float64]:
    """Fuse (V, ..., K) answers over the first axis to (..., K).

    ``class``: probabilities that sum to one, renormalised. ``tags``: each an own yes-or-no probability.
    ``number`` and ``numbers``: K = 2 P, means and log variances of P numbers; the mean of the means, and the
    mean variance plus the variance of the means, whatever the rule.
    """
    values = np.asarray(stack, dtype=np.float64)
    if len(values) == 0:
        raise ValueError("nothing to fuse: no answers were given")
    if task in ("number", "numbers"):
        return _fuse_moments(values)
    if rule == "mean":
        return values.mean(axis=0)
    if rule == "max":
        highest = values.max(axis=0)
        return highest / highest.sum(axis=-1, keepdims=True) if task == "class" else highest
    yes = _geometric_mean(values)
    if task == "class":
        return yes / yes.sum(axis=-1, keepdims=True)
    return yes / (yes + _geometric_mean(1.0 - values))


def probabilities(logits: npt.ArrayLike, *, task: Task, temperature: float) -> npt.NDArray[np.float64]:
    """Logits (..., K) to probabilities: softmax over K for ``class``, sigmoid for ``tags``."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    if task == "tags":
        return np.exp(-np.logaddexp(0.0, -scaled))
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def _geometric_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.exp(np.log(np.maximum(values, _SMALLEST)).mean(axis=0))


def _fuse_moments(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    means, log_variances = np.split(values, 2, axis=-1)
    variance = np.exp(log_variances).mean(axis=0) + means.var(axis=0)
    return np.concatenate([means.mean(axis=0), np.log(variance)], axis=-1)
