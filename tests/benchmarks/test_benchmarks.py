from __future__ import annotations

import json
import math
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import soundfile
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"
Script = Callable[[str], ModuleType]
HELD_MIB = 300  # more than a bare Python holds


def assert_times(record: dict[str, object], *names: str) -> None:
    for name in names:
        value = record[name]
        assert isinstance(value, float), name
        assert math.isfinite(value), name
        assert value > 0, name


def test_peak_memory_is_that_of_the_process_and_not_of_its_parent(script: Script) -> None:
    run_fresh = script("fresh_process").run_fresh
    ballast = np.ones(HELD_MIB * 2**17)
    hold = (
        "import mmap, time; untouched = mmap.mmap(-1, 1 << 30); "
        f"held = bytearray(b'x') * ({HELD_MIB // 2} << 20); time.sleep(0.3); print(len(held))"
    )
    done = run_fresh([sys.executable, "-c", hold])
    assert done.text == f"{(HELD_MIB // 2) << 20}\n"
    assert HELD_MIB // 2 <= done.peak_mib < HELD_MIB // 2 + 60
    assert ballast.nbytes / 2**20 >= HELD_MIB
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 > HELD_MIB


def test_a_failed_command_ends_the_benchmark_with_its_error(script: Script) -> None:
    with pytest.raises(SystemExit, match="ended with 3"):
        script("fresh_process").run_fresh([sys.executable, "-c", "import sys; sys.exit(3)"])


def test_the_long_recording_repeats_every_minute(script: Script, tmp_path: Path) -> None:
    script("long_recording").write_long_recording(tmp_path / "long.wav", 3 / 60)
    samples, rate = soundfile.read(tmp_path / "long.wav", dtype="int16")
    assert (len(samples), rate) == (3 * 60 * 16_000, 16_000)
    minutes = samples.reshape(3, -1)
    assert (minutes == minutes[0]).all()
    assert minutes[0].std() > 1000


@pytest.mark.parametrize(
    ("windows", "wrong", "complaint"), [(60, False, ""), (60, True, "differ"), (59, False, "not 60")]
)
def test_missing_windows_and_changing_answers_are_noticed(
    script: Script, tmp_path: Path, windows: int, wrong: bool, complaint: str
) -> None:
    lines = ["start_sample,p_a,p_b", *(f"{i},0.{i % 15:02},0.5" for i in range(windows))]
    if wrong:
        lines[32] = "31,0.9,0.5"
    (tmp_path / "windows.csv").write_text("\n".join(lines))
    check = script("long_recording").check_windows
    if not complaint:
        assert check(tmp_path / "windows.csv", 4 / 60, 4.0) == 60
        return
    with pytest.raises(SystemExit, match=complaint):
        check(tmp_path / "windows.csv", 4 / 60, 4.0)


def test_loss_curves_are_compared_by_epochs(script: Script) -> None:
    difference = script("gpu_training").largest_difference
    assert difference((4.0, 2.0, 1.0, 1.0), (2.0, 4.0, 1.0, 1.2), epochs=2) == pytest.approx(0.1)
    assert math.isnan(difference((1.0, 1.0), (1.0, math.nan), epochs=1))


def test_a_missing_peer_is_named() -> None:
    reason = runpy.run_path(str(FOLDER / "__main__.py"))["reason"]
    assert reason("Traceback\nModuleNotFoundError: No module named 'librosa'\n") == "librosa is not installed"
    assert reason("the outputs differ\n") == "the outputs differ"
    assert reason("") == "it said nothing"


class FilesOfEpochs:
    """Stands for a loader: its batches hold the epoch's number."""

    def __init__(self, rows: int = 2) -> None:
        self.epoch, self.rows = 0, rows

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, torch.Tensor]]:
        yield from ({"input": torch.full((self.rows,), float(self.epoch))} for _ in range(3))


@pytest.mark.slow  # importing Lightning
def test_odd_epochs_are_read_and_even_ones_come_from_memory(script: Script) -> None:
    files = FilesOfEpochs()
    loader = script("training_laps").AlternatingLoader(files)
    epochs = [[float(batch["input"][0]) for batch in loader] for _ in range(5)]
    assert epochs == [[e] * 3 for e in (0.0, 1.0, 0.0, 3.0, 0.0)]
    assert loader.handed_out == 15
    files.rows = 3
    with pytest.raises(ValueError, match="is in memory"):
        list(loader)


@pytest.mark.slow
@pytest.mark.parametrize("preset", ["crnn", "m5"])
def test_epochs_from_files_and_from_memory_take_turns(script: Script, tmp_path: Path, preset: str) -> None:
    measure = script("training_loader").measure
    record = measure(preset, workers=0, samples=4, pairs=2, folder=tmp_path)
    assert_times(
        record, "real data, samples/s", "from memory, samples/s", "ratio", "ratio of processor times"
    )


@pytest.mark.slow
def test_gpu_training_measures_and_compares(script: Script, tmp_path: Path) -> None:
    cpu = {"accelerator": "cpu", "precision": "float32"}
    record = script("gpu_training").measure(
        "m5", samples=6, batch_size=3, epochs=2, folder=tmp_path, slow=cpu, fast=cpu
    )
    assert record["largest relative difference of a loss"] == 0.0
    assert_times(record, "eager float32, samples/s", "times_faster")


@pytest.mark.slow
def test_the_long_recording_is_predicted_and_measured(script: Script, tmp_path: Path) -> None:
    record = script("long_recording").measure("smoke", hours=3 / 60, folder=tmp_path)
    assert record["windows"] == 60
    assert_times(record, "peak_mib", "seconds", "reading_s", "network_s")


@pytest.mark.slow
def test_the_stages_of_short_files_add_up(script: Script, tmp_path: Path) -> None:
    record = script("short_files").measure("smoke", files=3, folder=tmp_path)
    assert_times(record, "features and network, s", "after the model is loaded, s", "peak_mib")
    assert record["start-up: Python, imports, exit, s"] > 0
    assert 0 < record["share of reading and network"] <= 1


@pytest.mark.slow
def test_command_line_is_measured(script: Script) -> None:
    record = script("command_line").measure(repeats=1)
    assert_times(record, "python -c pass, s", "tessera --help, s", "tessera list, s")


@pytest.mark.slow
def test_mel_is_measured(script: Script) -> None:
    record = script("mel").compare(clips=2, seconds=0.5, repeats=1)
    assert record["largest_difference_db"] <= 1e-3
    assert_times(record, "times_faster")


@pytest.mark.slow
def test_cqt_is_measured(script: Script) -> None:
    record = script("cqt").compare(clips=2, seconds=1.0, repeats=1)
    assert record["least_correlation"] >= 0.999
    assert record["largest_median_difference_db"] <= 0.3
    assert_times(record, "times_faster")


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_all_benchmarks_name_what_they_cannot_measure() -> None:
    command = [sys.executable, "-m", "benchmarks", "--only", "gpu_training", "--json"]
    done = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert "not measured" in found["gpu_training"][0]
