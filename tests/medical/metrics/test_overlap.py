"""Counts of classes and their ratios, against a confusion matrix of scikit-learn and MONAI's Dice."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.metrics.meandice import compute_dice
from sklearn.metrics import confusion_matrix, precision_score, recall_score

from tessera.core.errors import DataError
from tessera.medical.metrics import count_overlap

Labels = npt.NDArray[np.uint8]


def pair(seed: int, n_classes: int = 4) -> tuple[Labels, Labels]:
    rng = np.random.default_rng(seed)
    reference = rng.integers(0, n_classes, (5, 6, 7)).astype(np.uint8)
    noise = rng.integers(0, n_classes, reference.shape).astype(np.uint8)
    return np.where(rng.random(reference.shape) < 0.4, noise, reference), reference


def one_hot(labels: Labels, n_classes: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([labels == k for k in range(n_classes)])[None].astype(np.float32))


def test_ratios_are_those_of_scikit_learn_and_monai() -> None:
    predicted, reference = pair(0)
    found = count_overlap(predicted, reference, n_classes=4)
    table = confusion_matrix(reference.ravel(), predicted.ravel())
    assert np.array_equal(found.both, np.diag(table)) and found.total == table.sum() == 210
    dice = compute_dice(one_hot(predicted, 4), one_hot(reference, 4), include_background=True)
    assert np.allclose(found.dice(), dice[0].numpy(), atol=1e-6)
    flat = reference.ravel(), predicted.ravel()
    assert np.allclose(found.precision(), precision_score(*flat, average=None))
    assert np.allclose(found.sensitivity(), recall_score(*flat, average=None))
    assert np.allclose(found.false_negative_rate(), 1 - recall_score(*flat, average=None))
    specificity = [recall_score(flat[0] != k, flat[1] != k) for k in range(4)]
    assert np.allclose(found.false_positive_rate(), 1 - np.array(specificity))


def test_a_class_in_neither_mask_is_nan_and_in_one_of_them_zero() -> None:
    reference = np.zeros((3, 3, 3), dtype=np.uint8)
    predicted = reference.copy()
    predicted[0, 0, 0], reference[2, 2, 2] = 1, 2
    found = count_overlap(predicted, reference, n_classes=4)
    assert found.dice()[1:].tolist()[:2] == [0.0, 0.0] and math.isnan(found.dice()[3])
    assert found.precision()[1] == 0.0 and np.isnan(found.precision()[2:]).all()
    assert found.sensitivity()[2] == 0.0 and np.isnan(found.sensitivity()[[1, 3]]).all()
    assert found.false_positive_rate()[1] == pytest.approx(1 / 27)


def test_order_in_memory_and_type_do_not_matter() -> None:
    predicted, reference = pair(1)
    expected = count_overlap(predicted, reference, n_classes=4)
    other = count_overlap(predicted.astype(np.int64), np.asfortranarray(reference), n_classes=4)
    assert np.array_equal(other.dice(), expected.dice())
    binary = count_overlap(predicted > 0, reference > 0, n_classes=2)
    assert binary.both[1] == np.count_nonzero((predicted > 0) & (reference > 0))


@given(st.integers(0, 1000))
def test_turning_all_axes_round_changes_nothing(seed: int) -> None:
    predicted, reference = pair(seed)
    found = count_overlap(predicted, reference, n_classes=4)
    turned = count_overlap(predicted[::-1, ::-1, ::-1], reference[::-1, ::-1, ::-1], n_classes=4)
    assert np.array_equal(found.dice(), turned.dice())


def test_a_label_without_class_is_refused() -> None:
    predicted, reference = pair(2)
    with pytest.raises(DataError, match=r"reference mask.*\n.*labels 0 to 3.*\n.*0 to 2"):
        count_overlap(np.minimum(predicted, 2), reference, n_classes=3)
    with pytest.raises(DataError, match="predicted mask"):
        count_overlap(predicted.astype(np.int8) - 1, reference, n_classes=4)


def test_masks_of_two_grids_are_refused() -> None:
    predicted, reference = pair(3)
    with pytest.raises(DataError, match="one grid"):
        count_overlap(predicted[1:], reference, n_classes=4)
