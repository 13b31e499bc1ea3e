"""Simulated scenes as a data set: files, truth and manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tessera.audio.simulate.files import SceneRecord, write_scenes
from tessera.audio.simulate.scenes import SceneConfig
from tessera.core.config import validate
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TAG_SEPARATOR


def simulate_sound_scenes(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write scenes, ``events.csv`` and a manifest with the target ``label`` below ``out``.

    The label is a class when every scene has one event, else the tags of its events.

    Args:
        out: New folder; its name becomes the data set's id.
        n: Number of scenes.
        seed: The same seed gives the same bytes.
        values: Fields of ``SceneConfig`` that differ from its defaults.
        progress: Called with (done, n).
    """
    config = validate(SceneConfig, values or {}, source="sound-scenes")
    single = config.events_per_scene == (1, 1)
    info = _info(out.resolve().name, seed=seed, classes=config.classes, single=single)
    records = write_scenes(out, n=n, seed=seed, config=config, progress=progress)
    manifest = Manifest.create(info, [_case(out, record, single=single) for record in records], folder=out)
    manifest.save(out)
    return manifest


def _info(name: str, *, seed: int, classes: tuple[str, ...], single: bool) -> DatasetInfo:
    head = {
        "id": name,
        "title": f"Simulated sound scenes, seed {seed}",
        "description": "Events of known class, onset and signal-to-noise ratio over coloured noise in a "
        "reverberant room; truth of every event in events.csv.",
        "licence": "CC0-1.0",
        "source": "tessera simulate sound-scenes",
        "role": "audio",
        "targets": {"label": {"kind": "class" if single else "tags", "classes": sorted(classes)}},
        "splits": "folds 1 to 5, balanced by class",
        "simulated": True,
    }
    return validate(DatasetInfo, head, source=f"the manifest of {name}")


def _case(out: Path, record: SceneRecord, *, single: bool) -> Case:
    label = record["label"]
    return Case(
        id=record["id"],
        files={"audio": FileRef(path=out / record["path"])},
        targets={"label": label if single else tuple(label.split(TAG_SEPARATOR))},
        group=record["group"],
        split=record["split"],
        meta={key: str(value) for key, value in record["meta"].items()},
    )
