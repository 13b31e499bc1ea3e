"""The benchmark of resampling at a small size."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest

from tessera.medical import resampling

Script = Callable[[str], ModuleType]


def test_both_records_have_times_and_agreement(script: Script) -> None:
    image, labels = script("resampling").compare(side=24, factor=4 / 3, repeats=1)
    assert image["times_faster_than_scikit-image"] > 0
    assert image["least_dice_of_thresholds"] >= 0.999
    assert labels["times_faster_than_scikit-image"] > 0
    assert labels["dice_of_all_structures"] >= 0.999
    assert labels["to"] == 32


def test_wrong_images_end_the_benchmark(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = script("resampling")
    linear = lambda image, shape: resampling.resample(image, shape, orders=(1, 1, 1))  # noqa: E731
    monkeypatch.setattr(benchmark, "resample", linear)
    with pytest.raises(SystemExit, match="outputs differ"):
        benchmark.compare_images(benchmark.scan(16)[0], 20, repeats=1)


def test_wrong_labels_end_the_benchmark(script: Script, monkeypatch: pytest.MonkeyPatch) -> None:
    benchmark = script("resampling")
    monkeypatch.setattr(
        benchmark, "skimage_labels", lambda labels, side: np.zeros((side,) * 3, dtype=labels.dtype)
    )
    with pytest.raises(SystemExit, match="labels differ"):
        benchmark.compare_labels(benchmark.scan(16)[1], 20, repeats=1)
