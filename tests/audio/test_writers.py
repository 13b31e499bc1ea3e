"""Tables of a prediction, read back as a stranger would."""

from __future__ import annotations

import csv
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from tessera.audio.config import SoundConfig
from tessera.audio.geometry import TimeAxis
from tessera.audio.windows import SoundWindows
from tessera.audio.writers import SoundWriter, safe_name
from tessera.core.data.case import Case, Target
from tessera.core.data.geometry import Pixels, Region
from tessera.core.data.targets import TargetSpec
from tessera.core.inference.interfaces import CaseResult, Writer, Written

CONFIG = SoundConfig(pipeline="sound", preset="test")
CLASSES = TargetSpec(kind="class", classes=("dog", "no", "rain, heavy"))
TAGS = TargetSpec(kind="tags", classes=("call", "noise", "tone"))
NUMBER = TargetSpec(kind="number", unit="dB")
ODD_NAMES = (
    "plain.wav",
    "Plain.wav",
    "site 1/night/rec 02.WAV",
    "site 1_night_rec 02.WAV",
    "Ünïcödé/鳥.flac",
    "100%.wav",
    "../../outside.wav",
    "/etc/passwd",
    "a\\b.wav",
    "CON",
    ".hidden.wav",
    "~",
    'say "hello", twice.wav',
    "two\nlines.wav",
    "old\rmac.wav",
    "dos\r\nname.wav",
    "long/" * 400 + "x.wav",
    "long/" * 400 + "y.wav",
    "not unicode \udcff.wav",
)


def result_of(
    name: str = "a.wav",
    scores: ArrayLike = ((0.2, 0.7, 0.1),),
    *,
    axis: TimeAxis | None = None,
    targets: dict[str, Target] | None = None,
    flags: tuple[str, ...] = (),
) -> CaseResult:
    """Windows of 1 s, one a row of scores, fused by their mean."""
    table = np.asarray(scores, dtype=np.float32)
    axis = axis or TimeAxis(16_000, 16_000 * len(table))
    regions = tuple(Region((i * 16_000,), ((i + 1) * 16_000,)) for i in range(len(table)))
    case = Case(id=name, files={}, group=f"group of {name}", targets=targets or {})
    return CaseResult(case, axis, regions, table, table.mean(axis=0), flags)


def write_all(out: Path, target: TargetSpec, *results: CaseResult) -> tuple[str, ...]:
    """As a run does: each recording when it is ready, the tables at the end by id."""
    writer = SoundWriter(CONFIG, target)
    pairs = [(result.case, writer.write(result, out)) for result in results]
    return writer.collect(iter(sorted(pairs, key=lambda pair: pair[0].id)), out)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_writer_satisfies_the_core_protocol() -> None:
    assert isinstance(SoundWriter(CONFIG, CLASSES), Writer)


def test_class_tables_have_the_documented_columns_and_values(tmp_path: Path) -> None:
    result = result_of(
        scores=((0.5, 0.25, 0.25), (0.125, 0.75, 0.125)), targets={"label": "dog"}, flags=("silent", "short")
    )
    assert write_all(tmp_path, CLASSES, result) == ("predictions.csv", "windows.csv")
    assert rows_of(tmp_path / "predictions.csv") == [
        {
            "case_id": "a.wav",
            "group": "group of a.wav",
            "target": "dog",
            "answer": "no",
            "score": "0.500000",
            "p_dog": "0.312500",
            "p_no": "0.500000",
            "p_rain, heavy": "0.187500",
            "duration_s": "2.000000",
            "windows": "2",
            "flags": "silent|short",
        }
    ]
    assert rows_of(tmp_path / "windows.csv")[1] == {
        "case_id": "a.wav",
        "start_sample": "16000",
        "end_sample": "32000",
        "sample_rate_hz": "16000",
        "start_s": "1.000000",
        "end_s": "2.000000",
        "answer": "no",
        "score": "0.750000",
        "p_dog": "0.125000",
        "p_no": "0.750000",
        "p_rain, heavy": "0.125000",
    }


@pytest.mark.parametrize(
    ("scores", "answer"),
    [((0.9, 0.5, 0.1), "call|noise"), ((0.1, 0.2, 0.4999999), ""), ((0.0, 0.0, 1.0), "tone")],
)
def test_tags_of_one_half_and_more_are_the_answer(
    tmp_path: Path, scores: tuple[float, ...], answer: str
) -> None:
    write_all(tmp_path, TAGS, result_of(scores=[scores], targets={"label": ("call", "tone")}))
    (row,) = rows_of(tmp_path / "predictions.csv")
    assert (row["answer"], row["target"]) == (answer, "call|tone")
    assert "score" not in row
    assert rows_of(tmp_path / "windows.csv")[0]["answer"] == answer


@pytest.mark.parametrize("mean", [1.5, -3.0e-9, 6.02e23, 0.1])
def test_numbers_have_mean_and_standard_deviation_in_full(tmp_path: Path, mean: float) -> None:
    write_all(tmp_path, NUMBER, result_of(scores=[(mean, 2 * np.log(0.25))]))
    for table in ("predictions.csv", "windows.csv"):
        (row,) = rows_of(tmp_path / table)
        assert np.float32(row["mean"]) == np.float32(mean)
        assert float(row["std"]) == pytest.approx(0.25, rel=1e-6)
        assert not any(name in row for name in ("answer", "score"))


@pytest.mark.parametrize("rate_hz", [11_025, 48_000])
@pytest.mark.parametrize("last", ["pad", "back", "drop"])
def test_the_last_window_after_six_hours_is_exact_to_the_sample(
    tmp_path: Path, rate_hz: int, last: str
) -> None:
    data = {"window_s": 3.0, "hop_s": 1.1, "last_window": last}
    axis = TimeAxis(rate_hz, 6 * 3600 * rate_hz + 7)
    regions = tuple(SoundWindows(CONFIG.model_validate(CONFIG.model_dump() | {"data": data})).plan(axis))
    scores = np.full((len(regions), 3), 1 / 3, dtype=np.float32)
    case = Case(id="night.wav", files={}, group="night")
    write_all(tmp_path, CLASSES, CaseResult(case, axis, regions, scores, scores[0]))
    rows = rows_of(tmp_path / "windows.csv")
    # Of the windows 1.1 s apart, number 19,633 is the last whole one: 21,596.3 s + 3 s < 21,600 s.
    whole = [11 * k * rate_hz // 10 for k in range(19_634)]
    extra = {"pad": [215_974 * rate_hz // 10], "back": [axis.n_samples - 3 * rate_hz], "drop": []}[last]
    assert [int(row["start_sample"]) for row in rows] == whole + extra
    assert all(int(row["end_sample"]) - start == 3 * rate_hz for row, start in zip(rows, whole, strict=False))
    assert int(rows[-1]["end_sample"]) == (axis.n_samples if extra else whole[-1] + 3 * rate_hz)
    assert {row["sample_rate_hz"] for row in rows} == {str(rate_hz)}
    assert all(abs(float(row["start_s"]) - k * 1.1) < 1 / rate_hz for k, row in enumerate(rows[:-1]))


@pytest.mark.parametrize("rate_hz", [300, 384_000, 1_411_200])
def test_sample_rates_are_written_in_full(tmp_path: Path, rate_hz: int) -> None:
    write_all(tmp_path, CLASSES, result_of(axis=TimeAxis(rate_hz, rate_hz)))
    assert rows_of(tmp_path / "windows.csv")[0]["sample_rate_hz"] == str(rate_hz)


def test_windows_are_in_the_order_of_time_not_of_text(tmp_path: Path) -> None:
    scores = np.full((120, 3), 1 / 3)
    write_all(tmp_path, CLASSES, result_of("b.wav", scores), result_of("a.wav", scores))
    rows = rows_of(tmp_path / "windows.csv")
    assert [(row["case_id"], int(row["start_sample"]) // 16_000) for row in rows] == [
        (name, second) for name in ("a.wav", "b.wav") for second in range(120)
    ]


def test_odd_names_get_files_of_their_own_below_the_folder(tmp_path: Path) -> None:
    writer = SoundWriter(CONFIG, CLASSES)
    files = [writer.write(result_of(name), tmp_path / "out").files[0] for name in ODD_NAMES]
    assert len({name.lower() for name in files}) == len(ODD_NAMES)
    assert sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*.csv")
    ) == sorted(files)
    assert all(len(name) < 150 and name.isascii() for name in files)


def test_odd_names_read_back_from_both_tables(tmp_path: Path) -> None:
    write_all(tmp_path, CLASSES, *map(result_of, ODD_NAMES))
    expected = sorted(name.replace("\udcff", "\\udcff") for name in ODD_NAMES)
    for table in ("predictions.csv", "windows.csv"):
        assert sorted(row["case_id"] for row in rows_of(tmp_path / table)) == expected


@settings(max_examples=50, deadline=None)
@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=300))
def test_any_name_is_safe_and_a_name_changed_in_case_is_another(name: str) -> None:
    safe = safe_name(name)
    assert 0 < len(safe) < 100
    assert not set(safe) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")
    assert safe[0] not in "._-"
    if name.swapcase() != name:
        assert safe_name(name.swapcase()).lower() != safe.lower()


def test_same_results_in_another_order_give_the_same_bytes(tmp_path: Path) -> None:
    results = [result_of(name, np.full((5, 3), len(name) / 9)) for name in ("a", "bb", "ccc")]
    write_all(tmp_path / "one", CLASSES, *results)
    write_all(tmp_path / "two", CLASSES, *reversed(results))
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).rglob("*.csv")} for name in ("one", "two")
    )
    assert one == two
    assert len(one) == 5
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("target", [CLASSES, TAGS, NUMBER])
def test_no_recordings_give_tables_with_a_header_only(tmp_path: Path, target: TargetSpec) -> None:
    SoundWriter(CONFIG, target).collect(iter(()), tmp_path)
    for table in ("predictions.csv", "windows.csv"):
        assert rows_of(tmp_path / table) == []
        assert (tmp_path / table).read_text(encoding="utf-8").startswith("case_id,")


def test_memory_does_not_grow_with_the_number_of_recordings(tmp_path: Path) -> None:
    writer = SoundWriter(CONFIG, CLASSES)
    written = writer.write(result_of(scores=np.full((2000, 3), 1 / 3)), tmp_path)
    one = (tmp_path / written.files[0]).stat().st_size

    def many() -> object:
        for i in range(200):
            yield Case(id=f"{i:03d}", files={}, group="g"), Written(written.files, written.rows)

    tracemalloc.start()
    writer.collect(many(), tmp_path)  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (tmp_path / "windows.csv").stat().st_size > 150 * one
    assert peak < 4 * one


def test_an_interrupted_table_leaves_the_old_one(tmp_path: Path) -> None:
    write_all(tmp_path, CLASSES, result_of())
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.csv")}

    def stops() -> object:
        yield Case(id="a", files={}, group="g"), Written((), {"predictions": []})
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        SoundWriter(CONFIG, CLASSES).collect(stops(), tmp_path)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def test_a_grid_without_time_is_refused(tmp_path: Path) -> None:
    result = CaseResult(
        Case(id="a", files={}, group="a"), Pixels((4,)), (Region((0,), (4,)),), np.ones((1, 3)), np.ones(3)
    )
    with pytest.raises(TypeError, match="TimeAxis"):
        SoundWriter(CONFIG, CLASSES).write(result, tmp_path)
