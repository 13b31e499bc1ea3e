"""Files of detections, read back as a stranger, and by this package's own readers."""

from __future__ import annotations

import csv
import tracemalloc
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import ArrayLike

from tessera.audio.audacity import read_track
from tessera.audio.config import SoundConfig
from tessera.audio.geometry import TimeAxis
from tessera.audio.output_config import SoundOutput
from tessera.audio.raven import read_table
from tessera.audio.seconds import samples_of
from tessera.audio.writers import SoundWriter, safe_name
from tessera.core.bundle.card import Calibration
from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Region
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError
from tessera.core.inference.interfaces import CaseResult, Outcome, OutcomeWriter, Written

CONFIG = SoundConfig(pipeline="sound", preset="test")
TAGS = TargetSpec(kind="tags", classes=("frog", "owl", "rain"))
ALL = ("csv", "raven", "audacity")


def writer(
    target: TargetSpec = TAGS, *, calibration: Calibration | None = None, **options: Any
) -> SoundWriter:
    return SoundWriter(CONFIG, target, options=SoundOutput(**options), calibration=calibration)


def result_of(
    name: str, scores: ArrayLike, *, rate: int = 16_000, n_samples: int | None = None, hop: int | None = None
) -> CaseResult:
    """Windows of 1 s side by side or every ``hop`` samples."""
    table = np.asarray(scores, dtype=np.float32)
    starts = [i * (hop or rate) for i in range(len(table))]
    axis = TimeAxis(rate, n_samples or starts[-1] + rate)
    regions = tuple(Region((start,), (start + rate,)) for start in starts)
    case = Case(id=name, files={"audio": FileRef(path=Path("/archive") / name)}, group=name)
    return CaseResult(case, axis, regions, table, table.mean(axis=0))


def write_all(
    made: SoundWriter, out: Path, *results: CaseResult, **others: tuple[str, str]
) -> tuple[str, ...]:
    """As a run does; ``others`` are cases without a result, with status and reason."""
    outcomes = [Outcome(one.case, "ok", "", made.write(one, out)) for one in results]
    outcomes += [
        Outcome(Case(id=name, files={}, group=name), status, reason, Written())
        for name, (status, reason) in others.items()
    ]
    return made.collect_outcomes(iter(sorted(outcomes, key=lambda one: one.case.id)), out)


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_writer_satisfies_the_core_protocol() -> None:
    assert isinstance(writer(), OutcomeWriter)


def test_the_table_of_detections_lists_every_recording_whatever_became_of_it(tmp_path: Path) -> None:
    scores = [[0.9, 0.1, 0.6], [0.8, 0.1, 0.1], [0.1, 0.1, 0.1]]
    names = write_all(
        writer(),
        tmp_path,
        result_of("b.wav", scores, rate=8000),
        result_of("quiet.wav", [[0.1, 0.1, 0.1]]),
        a=("failed", "cannot read a; found: 0 bytes"),
        c=("skipped", "not tried: more than 5 cases failed"),
        d=("pending", ""),
        e=("empty", "nothing to predict in it"),
    )
    assert names == ("detections.csv", "thresholds.csv")
    rows = rows_of(tmp_path / "detections.csv")
    assert [(row["case_id"], row["status"], row["reason"], row["label"]) for row in rows] == [
        ("a", "failed", "cannot read a; found: 0 bytes", ""),
        ("b.wav", "ok", "", "rain"),  # ends before the frog
        ("b.wav", "ok", "", "frog"),
        ("c", "skipped", "not tried: more than 5 cases failed", ""),
        ("d", "pending", "not tried yet", ""),
        ("e", "empty", "nothing to predict in it", ""),
        ("quiet.wav", "ok", "nothing reached its threshold", ""),
    ]
    assert rows[2] == {
        "case_id": "b.wav",
        "status": "ok",
        "reason": "",
        "label": "frog",
        "score": "0.900000",
        "start_sample": "0",
        "end_sample": "16000",
        "sample_rate_hz": "8000",
        "start_s": "0.000000000",
        "end_s": "2.000000000",
    }
    assert set(rows[0].values()) == {"a", "failed", "cannot read a; found: 0 bytes", ""}


def test_detections_are_in_the_order_of_time_not_of_text(tmp_path: Path) -> None:
    write_all(writer(), tmp_path, result_of("a", np.tile([[0.9, 0, 0], [0, 0, 0.9]], (60, 1))))
    starts = [int(row["start_sample"]) for row in rows_of(tmp_path / "detections.csv")]
    assert starts == [16_000 * k for k in range(120)]


@pytest.mark.parametrize("rate", [11_025, 384_000])
def test_tables_of_raven_and_audacity_give_back_the_samples_of_the_csv(tmp_path: Path, rate: int) -> None:
    """Through six hours, steps that are no whole milliseconds, and recordings of different lengths."""
    rng = np.random.default_rng(3)
    results = [
        result_of(f"site{k}/night.WAV", rng.random((40, 3)), rate=rate, hop=n // 41, n_samples=n)
        for k, n in enumerate((6 * 3600 * rate + 7, 7 * rate + 1, 3600 * rate))
    ]
    write_all(
        writer(formats=ALL, threshold=0.8), tmp_path, *results, **{"site1/broken.wav": ("failed", "cut")}
    )
    table = rows_of(tmp_path / "detections.csv")
    found = [row for row in table if row["label"]]
    assert len(found) > 40
    expected = [(r["case_id"], r["label"], int(r["start_sample"]), int(r["end_sample"])) for r in found]
    per_file, tracks = [], []
    for one in results:
        name = safe_name(one.case.id)
        for s in read_table(tmp_path / f"raven/{name}.selections.txt").selections:
            assert s.path == f"/archive/{one.case.id}"
            assert s.begin_s == s.offset_s
            span = (samples_of(s.begin_s, rate), samples_of(s.end_s, rate))
            per_file.append((one.case.id, s.annotations["Label"], *span))
        for t in read_track(tmp_path / f"audacity/{name}.txt"):
            tracks.append((one.case.id, t.text, samples_of(t.begin_s, rate), samples_of(t.end_s, rate)))
    assert per_file == tracks == expected

    before = {"site0/night.WAV": 0, "site1/night.WAV": results[0].grid.shape[0]}
    before["site2/night.WAV"] = before["site1/night.WAV"] + results[1].grid.shape[0]
    for one, row, (case_id, label, start, end) in zip(
        read_table(tmp_path / "detections.selections.txt").selections, found, expected, strict=True
    ):
        assert one.offset_s is not None
        assert one.path == f"/archive/{case_id}"
        assert samples_of(one.offset_s, rate) == start
        # All have one rate here, so that cumulative times are whole samples too.
        assert samples_of(one.begin_s, rate) == before[case_id] + start
        assert samples_of(one.end_s, rate) == before[case_id] + end
        assert (one.annotations["Label"], one.annotations["Score"]) == (label, row["score"])
        assert one.high_hz == min(CONFIG.data.sample_rate_hz, rate) / 2


def test_recordings_of_different_rates_add_up_in_seconds(tmp_path: Path) -> None:
    first = result_of("a.wav", [[0.9, 0, 0]], rate=44_100, n_samples=44_101)
    second = result_of("b.wav", [[0.9, 0, 0]], rate=48_000)
    write_all(writer(formats=("raven",)), tmp_path, first, second)
    _, one = read_table(tmp_path / "detections.selections.txt").selections
    assert abs(one.begin_s - Fraction(44_101, 44_100)) < Fraction(1, 10**9)
    assert one.offset_s == 0
    assert not (tmp_path / "detections.csv").exists()


def test_recordings_without_detections_have_a_table_too(tmp_path: Path) -> None:
    write_all(writer(formats=ALL), tmp_path, result_of("a.wav", [[0.1, 0.1, 0.1]]))
    assert read_table(tmp_path / f"raven/{safe_name('a.wav')}.selections.txt").selections == ()
    assert (tmp_path / f"audacity/{safe_name('a.wav')}.txt").read_bytes() == b""


def test_label_files_do_not_get_into_the_table_of_windows(tmp_path: Path) -> None:
    made = writer(formats=ALL)
    result = result_of("a.wav", [[0.9, 0, 0], [0, 0.9, 0]])
    made.collect(iter([(result.case, made.write(result, tmp_path))]), tmp_path)
    assert [row["start_sample"] for row in rows_of(tmp_path / "windows.csv")] == ["0", "16000"]


def test_durations_are_seconds_of_each_recordings_own_rate(tmp_path: Path) -> None:
    scores = [[0.9, 0, 0], [0, 0, 0], [0.9, 0, 0], [0, 0, 0], [0, 0, 0], [0.9, 0, 0]]
    for rate in (8000, 44_100):
        write_all(
            writer(max_gap_s=1.0, min_duration_s=2.5), tmp_path / str(rate), result_of("a", scores, rate=rate)
        )
        (row,) = rows_of(tmp_path / str(rate) / "detections.csv")
        assert (row["start_s"], row["end_s"]) == ("0.000000000", "3.000000000")


def test_release_and_smoothing_reach_the_rule(tmp_path: Path) -> None:
    scores = [[0.45, 0, 0], [0.9, 0, 0], [0.45, 0, 0], [0.1, 0, 0]]
    spans = {}
    for name, options in {"plain": {}, "release": {"release": 0.8}, "smooth": {"smooth": 3}}.items():
        write_all(writer(**options), tmp_path / name, result_of("a", scores))  # type: ignore[arg-type]
        spans[name] = [
            (r["start_s"][:1], r["end_s"][:1]) for r in rows_of(tmp_path / name / "detections.csv")
        ]
    assert spans == {"plain": [("1", "2")], "release": [("0", "3")], "smooth": [("0", "2")]}


def test_thresholds_are_the_bundles_and_are_written_beside_the_detections(tmp_path: Path) -> None:
    calibration = Calibration(n=50, thresholds={"frog": 0.25, "owl": 0.75, "rain": 0.5})
    made = writer(calibration=calibration, release=0.5)
    result = result_of("a.wav", [[0.25, 0.7, 0.5]])
    write_all(made, tmp_path, result)
    assert [row["label"] for row in rows_of(tmp_path / "detections.csv")] == ["frog", "rain"]
    assert [(r["label"], r["threshold"], r["release"]) for r in rows_of(tmp_path / "thresholds.csv")] == [
        ("frog", "0.25", "0.125"),
        ("owl", "0.75", "0.375"),
        ("rain", "0.5", "0.25"),
    ]
    (summary,) = made.write(result, tmp_path).rows["predictions"]
    assert summary["answer"] == "frog|rain"


def test_a_choice_of_classes_restricts_detections_and_answers_not_probabilities(tmp_path: Path) -> None:
    made = writer(classes=("owl", "rain"))
    result = result_of("a.wav", [[0.9, 0.6, 0.1]])
    write_all(made, tmp_path, result)
    assert [row["label"] for row in rows_of(tmp_path / "detections.csv")] == ["owl"]
    assert [row["label"] for row in rows_of(tmp_path / "thresholds.csv")] == ["owl", "rain"]
    (summary,) = made.write(result, tmp_path).rows["predictions"]
    assert (summary["answer"], summary["p_frog"]) == ("owl", "0.900000")
    single = writer(TargetSpec(kind="class", classes=TAGS.classes), classes=("rain",))
    (summary,) = single.write(result, tmp_path).rows["predictions"]
    assert (summary["answer"], summary["score"]) == ("rain", "0.100000")
    with pytest.raises(ConfigError, match="near: owl"):
        writer(classes=("owls",))


def test_numbers_have_no_detections_and_take_no_options_of_them(tmp_path: Path) -> None:
    number = TargetSpec(kind="number", unit="s")
    made = SoundWriter(CONFIG, number, options=SoundOutput(), calibration=Calibration())
    assert made.collect_outcomes(iter(()), tmp_path) == ()
    with pytest.raises(ConfigError, match="measures a number"):
        SoundWriter(CONFIG, number, options=SoundOutput(formats=("raven",)))


def test_odd_names_do_not_break_a_table(tmp_path: Path) -> None:
    names = (
        'say "hello", twice.wav',
        "two\nlines\tand a tab.wav",
        "not unicode \udcff.wav",
        "x/" * 300 + "y.wav",
    )
    write_all(writer(formats=ALL), tmp_path, *(result_of(name, [[0.9, 0, 0]]) for name in names))
    expected = sorted(name.replace("\udcff", "\\udcff") for name in names)
    assert sorted(row["case_id"] for row in rows_of(tmp_path / "detections.csv")) == expected
    assert len(read_table(tmp_path / "detections.selections.txt").selections) == len(names)
    assert len(list((tmp_path / "raven").iterdir())) == len(names)


def test_tables_of_other_formats_do_not_stay_behind(tmp_path: Path) -> None:
    write_all(writer(formats=ALL), tmp_path, result_of("a", [[0.9, 0, 0]]))
    write_all(writer(formats=("raven",)), tmp_path, result_of("a", [[0.9, 0, 0]]))
    assert not (tmp_path / "detections.csv").exists()
    assert (tmp_path / "detections.selections.txt").exists()


def test_memory_does_not_grow_with_the_number_of_recordings(tmp_path: Path) -> None:
    made = writer(formats=ALL)
    written = made.write(result_of("a", np.tile([[0.9, 0, 0], [0, 0, 0]], (100, 1))), tmp_path)

    def several(n: int) -> Iterator[Outcome]:
        for i in range(n):
            yield Outcome(Case(id=f"{i:03d}", files={}, group="g"), "ok", "", written)

    def peak_bytes(n: int) -> int:
        tracemalloc.start()
        made.collect_outcomes(several(n), tmp_path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(rows_of(tmp_path / "detections.csv")) == 100 * n
        return peak

    peak_bytes(1)  # what is kept once is not counted
    assert peak_bytes(40) < 2 * peak_bytes(4)  # ten times the recordings; garbage may wait to be collected
