"""Windows against the worked example of a 10 s file, a 6 h file and properties over 24 h."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.data.geometry import Region
from tessera.core.inference.tiling import LastWindow, window_regions, window_starts

RATE = 22050
WHOLE = [int(s * RATE) for s in (0, 1.5, 3, 4.5, 6)]


@pytest.mark.parametrize(
    ("last", "starts"),
    [("drop", WHOLE), ("pad", [*WHOLE, int(7.5 * RATE)]), ("back", [*WHOLE, 7 * RATE])],
)
def test_ten_seconds_in_windows_of_three_by_one_and_a_half(last: LastWindow, starts: list[int]) -> None:
    assert window_starts(10 * RATE, 3 * RATE, RATE * 3 // 2, last) == starts


@pytest.mark.parametrize("overlap", ["0", "0.3", "0.5", "1.0", "1.5", "2.0", "2.9"])
def test_window_after_six_hours_starts_to_the_sample(overlap: str) -> None:
    rate = 11025
    step_s = 3 - Fraction(overlap)
    starts = window_starts(6 * 3600 * rate + 3 * rate, 3 * rate, step_s * rate, "drop")
    # Six hours are a whole number of every one of these steps: the window there starts without any error.
    assert 6 * 3600 / step_s == int(6 * 3600 / step_s)
    assert starts[int(6 * 3600 / step_s)] == 6 * 3600 * rate


def test_a_step_of_a_third_of_a_sample_more_never_drifts() -> None:
    starts = window_starts(10_000_001, 100, Fraction(301, 3), "drop")
    assert starts[:4] == [0, 100, 200, 301]
    assert starts[3 * 30_000] == 30_000 * 301


@pytest.mark.parametrize(
    ("length", "last", "starts"),
    [
        (0, "pad", []), (0, "drop", []), (0, "back", []),
        (1, "pad", [0]), (1, "drop", []), (1, "back", [0]),
        (8, "pad", [0]), (8, "drop", [0]), (8, "back", [0]),
        (9, "pad", [0, 4]), (9, "drop", [0]), (9, "back", [0, 1]),
    ],
)  # fmt: skip
def test_lengths_around_one_window(length: int, last: LastWindow, starts: list[int]) -> None:
    assert window_starts(length, 8, 4, last) == starts


@pytest.mark.parametrize("step", [0, -1, 1.5, Fraction(0)])
def test_steps_that_are_not_exact_or_not_forward_are_refused(step: Any) -> None:
    with pytest.raises(ValueError, match="exact step"):
        window_starts(10, 3, step)


lengths = st.integers(1, 24 * 3600 * 48_000)
windows = st.integers(1_000_000, 48_000_000)


@given(
    lengths, windows, st.fractions(min_value=Fraction(1, 100), max_value=1), st.sampled_from(["pad", "back"])
)
def test_pad_and_back_cover_everything(length: int, window: int, share: Fraction, last: LastWindow) -> None:
    step = max(share * window, Fraction(window, 100))
    starts = window_starts(length, window, step, last)
    assert starts[0] == 0
    assert starts[-1] + window >= length
    assert all(0 < b - a <= window for a, b in pairwise(starts))
    assert len(starts) < 2 or starts[-2] + window < length


@given(
    lengths, windows, st.fractions(min_value=Fraction(1, 100), max_value=3), st.sampled_from(["drop", "back"])
)
def test_drop_and_back_never_pass_the_end(
    length: int, window: int, share: Fraction, last: LastWindow
) -> None:
    starts = window_starts(length, window, share * window, last)
    assert all(start + window <= length for start in starts) or length < window


@given(st.integers(1, 24 * 3600), st.sampled_from([8000, 11025, 44100, 48000, 384_000]), st.integers(1, 97))
def test_every_start_is_the_floor_of_its_exact_time(hours_s: int, rate: int, denominator: int) -> None:
    step = Fraction(rate * 60, denominator)
    starts = window_starts(hours_s * rate, rate, step, "drop")
    for k in (0, len(starts) // 2, len(starts) - 1):
        if starts:
            assert starts[k] <= k * step < starts[k] + 1


def test_regions_of_a_plane_go_row_by_row_and_end_at_its_edges() -> None:
    regions = window_regions((5, 7), (4, 4), (4, 3), "pad")
    assert regions == [
        Region((0, 0), (4, 4)), Region((0, 3), (4, 7)), Region((4, 0), (5, 4)), Region((4, 3), (5, 7)),
    ]  # fmt: skip


def test_regions_drawn_back_have_full_size() -> None:
    regions = window_regions((5, 7, 9), (4, 4, 4), (4, 4, 4), "back")
    assert {region.shape for region in regions} == {(4, 4, 4)}
    assert len(regions) == 2 * 2 * 3
    assert max(region.stop for region in regions) == (5, 7, 9)
