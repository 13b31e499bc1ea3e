"""The time axis: positions survive cropping, resampling and the way back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tessera.audio.geometry import TimeAxis
from tessera.core.data.geometry import Region

lengths = st.integers(1, 5_000_000)
rates = st.integers(100, 400_000)


@st.composite
def axes_with_region(draw: st.DrawFn) -> tuple[TimeAxis, Region]:
    length = draw(lengths)
    start = draw(st.integers(0, length - 1))
    return TimeAxis(draw(rates), length), Region((start,), (draw(st.integers(start + 1, length)),))


def test_duration_is_samples_over_rate() -> None:
    assert TimeAxis(44_100, 441_000).duration_s == 10.0
    assert TimeAxis(44_100, 441_000).shape == (441_000,)


def test_worked_example_of_crop_and_resample() -> None:
    axis = TimeAxis(48_000, 480_000).crop(Region((96_000,), (144_000,))).resample((16_000,))
    assert (axis.rate_hz, axis.n_samples, axis.duration_s) == (16_000, 16_000, 1.0)
    # sample 800 at 16 kHz is 50 ms into a second that starts at 2 s: 2.05 s * 48 kHz
    np.testing.assert_allclose(axis.invert([[0], [800], [16_000]]), [[96_000], [98_400], [144_000]])


def test_worked_example_of_resample_and_crop() -> None:
    axis = TimeAxis(48_000, 480_000).resample((160_000,)).crop(Region((32_000,), (48_000,)))
    assert (axis.rate_hz, axis.n_samples) == (16_000, 16_000)
    np.testing.assert_allclose(axis.invert([[0], [16_000]]), [[96_000], [144_000]])


@given(axes_with_region())
def test_cropped_positions_lead_back_to_the_source(axis_and_region: tuple[TimeAxis, Region]) -> None:
    axis, region = axis_and_region
    cropped = axis.crop(region)
    assert cropped.shape == region.shape
    ends = [[0], [cropped.n_samples]]
    np.testing.assert_array_equal(cropped.invert(ends), [[region.start[0]], [region.stop[0]]])


@given(axes_with_region(), lengths)
def test_resampling_keeps_duration_and_ends(axis_and_region: tuple[TimeAxis, Region], n: int) -> None:
    axis, region = axis_and_region
    cropped = axis.crop(region)
    resampled = cropped.resample((n,))
    assert resampled.shape == (n,)
    assert resampled.duration_s == pytest.approx(cropped.duration_s, rel=1e-12)
    ends = [[region.start[0]], [region.stop[0]]]
    np.testing.assert_allclose(resampled.invert([[0], [n]]), ends, rtol=1e-12, atol=1e-9)


@given(axes_with_region(), lengths)
def test_resampling_there_and_back_gives_the_same_axis(
    axis_and_region: tuple[TimeAxis, Region], n: int
) -> None:
    axis, region = axis_and_region
    cropped = axis.crop(region)
    back = cropped.resample((n,)).resample(cropped.shape)
    assert back.n_samples == cropped.n_samples
    assert back.origin == cropped.origin
    assert (back.rate_hz, back.step) == pytest.approx((cropped.rate_hz, cropped.step), rel=1e-12)


@given(axes_with_region(), st.data())
def test_crop_of_a_crop_is_one_crop(axis_and_region: tuple[TimeAxis, Region], data: st.DataObject) -> None:
    axis, outer = axis_and_region
    (width,) = outer.shape
    start = data.draw(st.integers(0, width))
    stop = data.draw(st.integers(start, width))
    once = axis.crop(Region((outer.start[0] + start,), (outer.start[0] + stop,)))
    assert axis.crop(outer).crop(Region((start,), (stop,))) == once
