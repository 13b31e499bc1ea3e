"""Selection tables: round trips to the sample, tables as Raven and people write them, damaged ones."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.audio.raven import COLUMNS, Selection, SelectionTable, is_table, read_table, table_lines
from tessera.audio.seconds import parse_number, samples_of, seconds_text
from tessera.core.errors import DataError

HEADER = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"


def read(tmp_path: Path, text: str | bytes, name: str = "a.txt") -> SelectionTable:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_table(path)


def test_a_table_has_ravens_columns_in_ravens_order(tmp_path: Path) -> None:
    one = Selection(
        begin_s=Fraction(61), end_s=Fraction(125, 2), low_hz=0.0, high_hz=8000.0, path="/x/b.wav",
        offset_s=Fraction(1), annotations={"Label": "wood thrush"},
    )  # fmt: skip
    assert list(table_lines([one], ("Label",))) == [
        HEADER + "\tBegin Path\tFile Offset (s)\tLabel\n",
        "1\tSpectrogram 1\t1\t61.000000000\t62.500000000\t0\t8000\t/x/b.wav\t1.000000000\twood thrush\n",
    ]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([300, 11_025, 22_050, 44_100, 48_000, 96_000, 250_000, 384_000, 1_411_200]),
    st.lists(st.tuples(st.integers(0, 10**12), st.integers(0, 10**9)), max_size=5),
    st.booleans(),
)
def test_samples_survive_being_written_and_read(
    tmp_path_factory: pytest.TempPathFactory, rate: int, spans: list[tuple[int, int]], comma: bool
) -> None:
    before = Fraction(123_456_789, 7)
    rows = [
        Selection(
            begin_s=before + Fraction(start, rate),
            end_s=before + Fraction(start + length, rate),
            offset_s=Fraction(start, rate),
        )
        for start, length in spans
    ]
    text = "".join(table_lines(rows))
    found = read(tmp_path_factory.mktemp("raven"), text.replace(".", ",") if comma else text).selections
    assert len(found) == len(rows)
    for one, (start, length) in zip(found, spans, strict=True):
        assert one.offset_s is not None
        assert samples_of(one.offset_s, rate) == start
        assert samples_of(one.offset_s + one.end_s - one.begin_s, rate) == start + length


def test_columns_may_come_in_any_order_and_be_few(tmp_path: Path) -> None:
    table = read(tmp_path, "Species\tEnd Time (s)\tSelection\tBegin Time (s)\nfrog\t2.5\t7\t1\n")
    (one,) = table.selections
    assert (one.begin_s, one.end_s, one.number) == (1, Fraction(5, 2), "7")
    assert (one.low_hz, one.high_hz, one.path, one.offset_s, one.channel) == (None, None, "", None, 1)
    assert one.annotations == {"Species": "frog"}
    assert table.annotation_columns == ("Species",)
    assert one.where.endswith("a.txt, line 2")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_encodings_and_line_ends_of_other_programs(tmp_path: Path, encoding: str, end: str) -> None:
    text = f"begin time (S)\tEND TIME (s)\tAnnotation{end}1\t2\tGrünspecht{end}{end}3\t4\tKauz"
    found = read(tmp_path, text.encode(encoding))
    assert [one.annotations["Annotation"] for one in found.selections] == ["Grünspecht", "Kauz"]
    assert is_table(found.path)


def test_a_selection_shown_in_two_views_is_one(tmp_path: Path) -> None:
    rows = (
        "1\tWaveform 1\t1\t0.5\t1.5\t\t\n1\tSpectrogram 1\t1\t0.5\t1.5\t100\t900\n"
        "2\tSpectrogram 1\t1\t0.5\t1.5\t2000\t3000\n2\tWaveform 1\t1\t0.5\t1.5\t\t\n"
    )
    found = read(tmp_path, f"{HEADER}\n{rows}").selections
    assert [(one.number, one.low_hz) for one in found] == [("1", 100.0), ("2", 2000.0)]


def test_equal_numbers_in_tables_that_were_put_together_stay_apart(tmp_path: Path) -> None:
    rows = "1\t0\t1\ta.wav\n1\t0\t1\tb.wav\n1\t2\t3\ta.wav\n"
    text = f"Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\n{rows}"
    assert [one.path for one in read(tmp_path, text).selections] == ["a.wav", "b.wav", "a.wav"]


def test_ravens_own_measurements_are_no_annotations(tmp_path: Path) -> None:
    measured = "Begin File\tDelta Time (s)\tPeak Freq (Hz)\tAvg Power Density (dB FS/Hz)\tBW 90% (Hz)"
    table = read(tmp_path, f"{HEADER}\t{measured}\tCall type\tMy notes\n")
    assert table.annotation_columns == ("Call type", "My notes")
    assert table.selections == ()


@pytest.mark.parametrize("name", ["Begin Time (s)", "End Time (s)"])
def test_a_needed_column_that_is_missing_is_named_with_the_header_found(tmp_path: Path, name: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, HEADER.replace(name, "Something"))
    assert f"has no column {name}" in caught.value.problem
    assert "columns Selection, View" in str(caught.value.found)


def test_commas_instead_of_tabs_are_told_from_the_header(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="separated by tabs"):
        read(tmp_path, HEADER.replace("\t", ",") + "\n1,a,1,0,1,0,1\n")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1\tS\t1\tsoon\t1\t\t", r"line 2: Begin Time \(s\) is no number"),
        ("1\tS\t1\t1,234.5\t2000\t\t", "no number"),
        ("1\tS\t1\t1_0\t20\t\t", "no number"),
        ("1\tS\t1\tnan\t2\t\t", "no number"),
        ("1\tS\t1\t1/3\t2\t\t", "no number"),
        ("1\tS\t1\t\t1\t\t", "without its times"),
        ("1\tS", "without its times"),
        ("1\tS\t1\t-0.1\t1\t\t", "no times of a selection"),
        ("1\tS\t1\t2\t1.9\t\t", "no times of a selection"),
        ("1\tS\t1\t0\t1\tlow\t", r"Low Freq \(Hz\) is no number"),
        ("1\tS\t1\t0\t1\t\t\tmore", "more cells than the header"),
    ],
)
def test_a_row_that_makes_no_sense_is_named_by_its_line(tmp_path: Path, row: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read(tmp_path, f"{HEADER}\n{row}\n")


def test_files_that_are_no_text_tables(tmp_path: Path) -> None:
    for content, words in ((b"", "empty first line"), (b"\x00\x01PK", "not text")):
        with pytest.raises(DataError, match=words):
            read(tmp_path, content)
    with pytest.raises(DataError, match="given twice"):
        read(tmp_path, HEADER + "\tLabel\tLabel\n")
    with pytest.raises(DataError, match="cannot read"):
        read_table(tmp_path / "gone.txt")


def test_tabs_and_line_ends_in_names_cannot_break_a_table(tmp_path: Path) -> None:
    one = Selection(
        begin_s=Fraction(0), end_s=Fraction(1), path="a\tb\nc.wav", annotations={"Label": "x\r\ny"}
    )
    (found,) = read(tmp_path, "".join(table_lines([one], ("Label",)))).selections
    assert (found.path, found.annotations["Label"]) == ("a b c.wav", "x  y")


def test_every_cell_of_a_row_is_there_when_read_as_plain_columns() -> None:
    header, row = table_lines([Selection(begin_s=Fraction(1), end_s=Fraction(2))])
    cells = dict(zip(header.rstrip("\n").split("\t"), row.rstrip("\n").split("\t"), strict=True))
    assert list(cells) == list(COLUMNS)
    assert cells["File Offset (s)"] == cells["Begin Time (s)"] == "1.000000000"


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1.50", Fraction(3, 2)), (",5", Fraction(1, 2)), ("1e-3", Fraction(1, 1000))],
)
def test_numbers_are_exact(text: str, value: Fraction) -> None:
    assert parse_number(f" {text} ") == value


def test_seconds_are_written_with_nine_decimals_of_the_exact_value() -> None:
    assert seconds_text(Fraction(1, 3)) == "0.333333333"
    assert seconds_text(Fraction(10**15) + Fraction(2, 3)) == "1000000000000000.666666667"
    assert seconds_text(Fraction(-1, 2)) == "-0.500000000"
