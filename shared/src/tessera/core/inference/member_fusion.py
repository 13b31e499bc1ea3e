"""How the answers of a bundle's members become one: shares of a mean, or a learnt map of their logits."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from tessera.core.bundle.card import MemberFusion

ClassTask = Literal["class", "tags"]
FloatArray = npt.NDArray[np.float64]

LEAST_PROBABILITY = 1e-7  # float32 holds nothing nearer to 0 or 1


def fuse_members(stack: npt.ArrayLike, fusion: MemberFusion, *, task: ClassTask) -> FloatArray:
    """Probabilities of the members (M, ..., K) -> fused (..., K)."""
    values = np.asarray(stack, dtype=np.float64)
    if fusion.matrix:
        return _learned(values, fusion, task=task)
    shares = np.asarray(fusion.weights) / np.sum(fusion.weights)
    return np.tensordot(shares, values, axes=1)


def class_features(stack: npt.ArrayLike) -> FloatArray:
    """Probabilities of the members (M, ..., K) -> log-probabilities (..., M K), member by member."""
    logs = np.log(np.clip(np.asarray(stack, dtype=np.float64), LEAST_PROBABILITY, 1.0))
    return np.concatenate(list(logs), axis=-1)


def tag_features(stack: npt.ArrayLike) -> FloatArray:
    """Probabilities of the members (M, ..., K) -> log-odds (..., K, M)."""
    p = np.clip(np.asarray(stack, dtype=np.float64), LEAST_PROBABILITY, 1 - LEAST_PROBABILITY)
    return np.moveaxis(np.log(p) - np.log1p(-p), 0, -1)


def _learned(values: FloatArray, fusion: MemberFusion, *, task: ClassTask) -> FloatArray:
    matrix, bias = np.asarray(fusion.matrix), np.asarray(fusion.bias)
    if task == "tags":
        logits = (tag_features(values) * matrix).sum(-1) + bias
        return np.exp(-np.logaddexp(0.0, -logits))
    logits = class_features(values) @ matrix.T + bias
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
