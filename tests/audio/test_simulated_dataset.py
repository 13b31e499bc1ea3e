"""Simulated scenes as a data set: what is written is what the manifest says."""

from __future__ import annotations

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import soundfile

from tessera.audio.simulate import simulate_sound_scenes
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, TesseraError

SHORT = {"duration_s": 0.5, "sample_rate_hz": 8000, "t60_s": [0.0, 0.0]}


def simulate(out: Path, n: int = 10, seed: int = 1, **values: Any) -> Manifest:
    return simulate_sound_scenes(out, n=n, seed=seed, values=SHORT | values)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def truth(folder: Path) -> dict[str, set[str]]:
    """Labels of each scene's events, from events.csv."""
    found: dict[str, set[str]] = {}
    with (folder / "events.csv").open(encoding="utf-8", newline="") as table:
        for row in csv.DictReader(table):
            found.setdefault(row["case"], set()).add(row["label"])
    return found


def test_manifest_loads_back_the_same_and_its_files_verify(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims")
    loaded = Manifest.load(tmp_path / "sims")
    assert loaded.digest == made.digest
    assert loaded.cases == made.cases
    assert loaded.info == made.info
    assert loaded.verify() == []
    assert len(loaded.cases) == 10


def test_manifest_says_that_the_data_are_simulated_and_from_what(tmp_path: Path) -> None:
    info = simulate(tmp_path / "sims", seed=7).info
    assert info.simulated
    assert (info.id, info.role) == ("sims", "audio")
    assert "seed 7" in info.title
    assert info.licence


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for parent, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(tmp_path / parent / "sims", seed=seed)
    a, b, c = (content(tmp_path / name / "sims") for name in "abc")
    assert a == b
    assert set(a) == {"dataset.yaml", "samples.csv", "events.csv"} | {
        f"audio/scene-{i:05d}.wav" for i in range(1, 11)
    }
    assert set(a) == set(c)
    assert all(a[name] != c[name] for name in a)


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    small, large = simulate(tmp_path / "small", n=4), simulate(tmp_path / "large", n=9)
    hashes = [[case.all_files()[0].sha256 for case in made.cases] for made in (small, large)]
    assert hashes[0] == hashes[1][:4]


def test_one_event_a_scene_gives_classes_and_several_give_tags(tmp_path: Path) -> None:
    one = simulate(tmp_path / "one", n=10, classes=["tone", "noise", "chirp"])
    assert one.target("label") == TargetSpec(kind="class", classes=("chirp", "noise", "tone"))
    assert {case.id: {case.targets["label"]} for case in one.cases} == truth(tmp_path / "one")

    many = simulate(tmp_path / "many", n=12, events_per_scene=[1, 3])
    assert many.target("label").kind == "tags"
    assert many.target("label").classes == ("call", "chirp", "impulse", "noise", "tone")
    tags = {case.id: case.targets["label"] for case in many.cases}
    assert {name: set(value) for name, value in tags.items() if isinstance(value, tuple)} == truth(
        tmp_path / "many"
    )
    sizes = {len(value) for value in tags.values() if isinstance(value, tuple)}
    assert sizes >= {1, 2}
    assert Manifest.load(tmp_path / "many").digest == many.digest


def test_always_one_of_several_events_is_still_tags(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=4, events_per_scene=[2, 2], classes=["tone"])
    assert [case.targets["label"] for case in made.cases] == [("tone",)] * 4


def test_folds_and_classes_are_balanced_and_every_scene_is_its_own_group(tmp_path: Path) -> None:
    cases = simulate(tmp_path / "sims", n=54).cases
    assert max(Counter(case.targets["label"] for case in cases).values()) == 11
    assert min(Counter(case.targets["label"] for case in cases).values()) == 10
    per_fold = Counter((case.split, case.targets["label"]) for case in cases)
    assert {fold for fold, _ in per_fold} == set("12345")
    assert len(per_fold) == 25
    assert set(per_fold.values()) <= {2, 3}
    assert len({case.group for case in cases}) == 54


def test_facts_of_a_scene_agree_with_its_file(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=2)
    for case in made.cases:
        info = soundfile.info(case.path("audio"))
        assert (info.samplerate, info.frames, info.channels) == (8000, 4000, 1)
        assert case.meta["sample_rate_hz"] == "8000"
        assert float(case.meta["duration_s"]) == 0.5


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    simulate_sound_scenes(
        tmp_path / "sims", n=3, seed=0, values=SHORT, progress=lambda done, n: steps.append((done, n))
    )
    assert steps == [(1, 3), (2, 3), (3, 3)]


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({"duration_s": -1}, "duration_s"),
        ({"duration_S": 1.0}, "duration_S"),
        ({"classes": ["tone", "whistle"]}, "whistle"),
        ({"classes": []}, "classes"),
        ({"events_per_scene": [3, 1]}, "events_per_scene"),
        ({"snr_db": [10.0, 0.0]}, "snr_db"),
        ({"sample_rate_hz": "fast"}, "sample_rate_hz"),
    ],
)
def test_a_bad_value_is_named_and_nothing_is_written(
    tmp_path: Path, values: dict[str, Any], named: str
) -> None:
    with pytest.raises(ConfigError, match=named):
        simulate(tmp_path / "sims", **values)
    assert not (tmp_path / "sims").exists()


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (3, -1)])
def test_no_scenes_and_negative_seeds_are_refused(tmp_path: Path, n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="n >= 1, seed >= 0"):
        simulate(tmp_path / "sims", n=n, seed=seed)


def test_a_folder_whose_name_cannot_be_an_id_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(TesseraError, match="my sims") as caught:
        simulate(tmp_path / "my sims")
    assert "id" in str(caught.value)
    assert not (tmp_path / "my sims").exists()
