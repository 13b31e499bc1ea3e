"""Simulated scenes as a data set: files, truth and manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tessera.audio.simulate.files import write_scenes
from tessera.audio.simulate.scenes import SceneConfig
from tessera.core.config import validate
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec


def simulate_sound_scenes(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write scenes, ``events.csv`` and a manifest with the target ``label`` below ``out``.

    Args:
        out: New folder.
        n: Number of scenes.
        seed: The same seed gives the same bytes.
        values: Fields of ``SceneConfig`` that differ from its defaults.
        progress: Called with (done, n).
    """
    config = validate(SceneConfig, values or {}, source="sound-scenes")
    records = write_scenes(out, n=n, seed=seed, config=config, progress=progress)
    single = config.events_per_scene == (1, 1)
    target = TargetSpec(kind="class" if single else "tags", classes=tuple(sorted(config.classes)))
    info = DatasetInfo(
        id=out.name,
        title=f"Simulated sound scenes, seed {seed}",
        description="Events of known class, onset and signal-to-noise ratio over coloured noise in a "
        "reverberant room; truth of every event in events.csv.",
        licence="CC0-1.0",
        source="tessera simulate sound-scenes",
        role="audio",
        targets={"label": target},
        splits="folds 1 to 5, balanced by class",
        simulated=True,
    )
    cases = [
        Case(
            id=record["id"],
            files={"audio": FileRef(path=out / record["path"])},
            targets={"label": record["label"] if single else tuple(record["label"].split("|"))},
            group=record["group"],
            split=record["split"],
            meta={key: str(value) for key, value in record["meta"].items()},
        )
        for record in records
    ]
    manifest = Manifest.create(info, cases, folder=out)
    manifest.save(out)
    return manifest
