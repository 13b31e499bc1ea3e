"""Label tracks: round trips, tracks as Audacity writes them, damaged ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.audio.audacity import Label, is_track, read_track, track_lines
from tessera.audio.seconds import samples_of
from tessera.core.errors import DataError


def read(tmp_path: Path, text: str) -> tuple[Label, ...]:
    (tmp_path / "track.txt").write_text(text, encoding="utf-8", newline="")
    return read_track(tmp_path / "track.txt")


def test_a_track_is_lines_of_start_end_and_label_with_frequencies_below() -> None:
    labels = [
        Label(begin_s=Fraction(1, 2), end_s=Fraction(2), text="dog", low_hz=0.0, high_hz=8000.0),
        Label(begin_s=Fraction(3), end_s=Fraction(3), text="here"),
    ]
    assert "".join(track_lines(labels)) == (
        "0.500000000\t2.000000000\tdog\n\\\t0\t8000\n3.000000000\t3.000000000\there\n"
    )


def test_tracks_of_audacity_are_read(tmp_path: Path) -> None:
    found = read(tmp_path, "1.000000\t2.500000\tfrog\r\n\\\t500.000000\t-1.000000\r\n3,5\t3,5\t\r\n")
    assert [(one.begin_s, one.end_s, one.text) for one in found] == [
        (1, Fraction(5, 2), "frog"),
        (Fraction(7, 2), Fraction(7, 2), ""),
    ]
    assert [(one.low_hz, one.high_hz) for one in found] == [(500.0, None), (None, None)]
    assert is_track(tmp_path / "track.txt")


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from([300, 44_100, 384_000]),
    st.lists(
        st.tuples(
            st.integers(0, 10**12),
            st.integers(0, 10**8),
            st.text(st.characters(exclude_characters="\t\r\n\0", codec="utf-8")),
            st.none() | st.tuples(st.integers(0, 9999), st.integers(10_000, 190_000)),
        ),
        max_size=5,
    ),
)
def test_samples_texts_and_frequencies_survive(
    tmp_path_factory: pytest.TempPathFactory,
    rate: int,
    drawn: list[tuple[int, int, str, tuple[int, int] | None]],
) -> None:
    labels = [
        Label(
            begin_s=Fraction(start, rate),
            end_s=Fraction(start + length, rate),
            text=text.strip(),
            low_hz=None if band is None else float(band[0]),
            high_hz=None if band is None else float(band[1]),
        )
        for start, length, text, band in drawn
    ]
    found = read(tmp_path_factory.mktemp("audacity"), "".join(track_lines(labels)))
    assert [(samples_of(one.begin_s, rate), samples_of(one.end_s, rate)) for one in found] == [
        (start, start + length) for start, length, _, _ in drawn
    ]
    assert [(one.text, one.low_hz, one.high_hz) for one in found] == [
        (one.text, one.low_hz, one.high_hz) for one in labels
    ]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1\t2\ta\nx\t2\tb\n", r"line 2: this is no line"),
        ("1\n", "no line of a label track"),
        ("2\t1\ta\n", "no times of a label"),
        ("-1\t1\ta\n", "no times of a label"),
        ("\\\t0\t1\n", "without a label before"),
        ("1\t2\ta\n\\\t0\n", "line 2"),
    ],
)
def test_a_line_that_makes_no_sense_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path, text)


def test_other_texts_are_no_tracks(tmp_path: Path) -> None:
    for text in ("", "notes of May\n", "Selection\tView\n", "1\n"):
        (tmp_path / "x.txt").write_text(text, encoding="utf-8")
        assert not is_track(tmp_path / "x.txt")
    assert read(tmp_path, "") == ()
