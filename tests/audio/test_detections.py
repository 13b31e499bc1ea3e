"""Detections against closed forms, and the stream against whole arrays worked out with scipy."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from tessera.audio.detections import Detection, DetectionRule, DetectionStream, detect

RATE = 100  # samples of a window in the worked examples


def rule(on: ArrayLike = (0.5,), off: ArrayLike | None = None, **options: object) -> DetectionRule:
    high = np.asarray(on, dtype=np.float64)
    low = high if off is None else np.asarray(off, dtype=np.float64)
    return DetectionRule(on=high, off=low, **options)  # type: ignore[arg-type]


def spans(scores: ArrayLike, hop: int = RATE, **options: object) -> list[tuple[int, int]]:
    """Detections of one class in windows of 100 samples."""
    rows = ((i * hop, i * hop + RATE, [score]) for i, score in enumerate(np.asarray(scores).tolist()))
    return [(one.start_sample, one.stop_sample) for one in detect(rule(**options), rows)]  # type: ignore[arg-type]


def test_a_stretch_of_windows_that_reach_the_threshold_is_one_detection() -> None:
    windows = [(i * 10, i * 10 + 10, [p, 1 - p]) for i, p in enumerate([0.1, 0.5, 0.8, 0.2])]
    assert detect(rule((0.5, 0.95)), windows) == [Detection(10, 30, 0, 0.8)]


def test_between_two_thresholds_a_detection_goes_on_but_does_not_begin_alone() -> None:
    scores = [0.4, 0.9, 0.4, 0.1, 0.4, 0.4]
    assert spans(scores, on=(0.8,), off=(0.3,)) == [(0, 300)]  # reaches back, too
    assert spans(scores, on=(0.8,)) == [(100, 200)]


def test_gaps_up_to_the_longest_are_closed() -> None:
    scores = [1, 0, 1, 0, 0, 1]
    assert spans(scores) == [(0, 100), (200, 300), (500, 600)]
    assert spans(scores, max_gap_samples=99) == spans(scores)
    assert spans(scores, max_gap_samples=100) == [(0, 300), (500, 600)]
    assert spans(scores, max_gap_samples=200) == [(0, 600)]


def test_short_ones_are_dropped_after_gaps_were_closed() -> None:
    scores = [1, 0, 1, 0, 0, 1]
    assert spans(scores, min_samples=101) == []
    assert spans(scores, min_samples=300, max_gap_samples=100) == [(0, 300)]
    assert spans(scores, min_samples=301, max_gap_samples=100) == []


def test_overlapping_windows_never_give_overlapping_detections() -> None:
    assert spans([1, 0, 1, 0, 0, 0, 1], hop=50) == [(0, 200), (300, 400)]  # 0 to 100 and 100 to 200 touch


def test_smoothing_over_neighbours() -> None:
    lone, twin = [0, 0, 0.9, 0, 0], [0, 0.9, 0.9, 0, 0]
    assert spans(lone, smooth=3, on=(0.5,)) == []
    assert spans(lone, smooth=3, on=(0.3,)) == [(100, 400)]
    assert spans(twin, smooth=3, on=(0.5,)) == [(100, 300)]
    assert spans(lone, smooth=3, smoothing="max", on=(0.9,)) == [(100, 400)]
    assert spans([0.9, 0, 0], smooth=3, on=(0.45,)) == [(0, 100)]  # at the end two windows are averaged
    assert spans([0.9], smooth=9, on=(0.9,)) == [(0, 100)]
    assert spans([], smooth=3) == []


def whole_arrays(
    made: DetectionRule, starts: NDArray[np.int64], window: int, scores: NDArray[np.float64]
) -> list[tuple[int, int, int, float]]:
    """The same from whole arrays: scipy's filters, labelled stretches and plain merging."""
    found = []
    for k in range(scores.shape[1]):
        if made.smoothing == "max":
            smooth = ndimage.maximum_filter1d(scores[:, k], made.smooth, mode="constant", cval=-np.inf)
        else:
            near = np.convolve(scores[:, k], np.ones(made.smooth), "full")
            half = made.smooth // 2
            share = np.convolve(np.ones(len(scores)), np.ones(made.smooth), "full")
            smooth = (near / share)[half : half + len(scores)]
        stretches, count = ndimage.label(smooth >= made.off[k])
        merged: list[list[float]] = []
        for number in range(1, count + 1):
            (places,) = np.nonzero(stretches == number)
            peak = smooth[places].max()
            if peak < made.on[k]:
                continue
            start, stop = starts[places[0]], starts[places[-1]] + window
            if merged and start - merged[-1][1] <= made.max_gap_samples:
                merged[-1] = [merged[-1][0], stop, max(merged[-1][2], peak)]
            else:
                merged.append([start, stop, peak])
        found += [(int(a), int(b), k, p) for a, b, p in merged if b - a >= made.min_samples]
    return sorted(found)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_the_stream_equals_the_computation_on_whole_arrays(data: st.DataObject) -> None:
    n, k = data.draw(st.integers(1, 40)), data.draw(st.integers(1, 3))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    window = data.draw(st.integers(1, 50))
    starts = np.cumsum(rng.integers(0, data.draw(st.integers(1, 80)), n))  # irregular, as a last window is
    made = DetectionRule(
        on=rng.uniform(0.3, 0.9, k),
        off=rng.uniform(0.1, 0.3, k),
        smooth=2 * data.draw(st.integers(0, 4)) + 1,
        smoothing=data.draw(st.sampled_from(["mean", "max"])),
        min_samples=data.draw(st.integers(0, 150)),
        max_gap_samples=data.draw(st.integers(0, 100)),
    )
    scores = rng.random((n, k)) ** data.draw(st.integers(1, 6))
    rows = [(int(start), int(start) + window, row) for start, row in zip(starts, scores, strict=True)]
    found = detect(made, rows)
    expected = whole_arrays(made, starts, window, scores)
    assert [(d.start_sample, d.stop_sample, d.label) for d in found] == [row[:3] for row in expected]
    assert [d.score for d in found] == pytest.approx([row[3] for row in expected])
    for label in range(k):
        own = [d for d in found if d.label == label]
        assert all(b.start_sample - a.stop_sample > made.max_gap_samples for a, b in pairwise(own))


def test_a_detection_is_given_as_soon_as_nothing_can_change_it() -> None:
    stream = DetectionStream(rule(max_gap_samples=100))
    given = [stream.add(i * 100, i * 100 + 100, [p]) for i, p in enumerate([1, 0, 0, 0, 1])]
    assert given == [[], [], [], [Detection(0, 100, 0, 1.0)], []]
    assert stream.finish() == [Detection(400, 500, 0, 1.0)]
    assert stream.finish() == []


def test_memory_does_not_grow_with_the_recording() -> None:
    stream = DetectionStream(rule((0.5,) * 5, smooth=5))
    rng = np.random.default_rng(0)
    count = 0
    tracemalloc.start()
    for i in range(20_000):
        count += len(stream.add(i, i + 1, rng.random(5)))
        if i == 1000:
            before = tracemalloc.get_traced_memory()[0]
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert count > 1000
    assert after < before + 20_000


@pytest.mark.parametrize(
    "options",
    [{"smooth": 2}, {"smooth": 0}, {"min_samples": -1}, {"max_gap_samples": -1}, {"off": (0.6,)}],
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must be odd|do not fit"):
        rule(**options)  # type: ignore[arg-type]


def test_windows_out_of_order_and_wrong_numbers_of_scores_are_refused() -> None:
    stream = DetectionStream(rule())
    stream.add(10, 20, [0.0])
    with pytest.raises(ValueError, match="out of order"):
        stream.add(5, 25, [0.0])
    with pytest.raises(ValueError, match="thresholds"):
        stream.add(20, 30, [0.0, 1.0])
