"""Airway phantoms as a data set: images, labels, truth and a manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tessera.core.config import merge, validate
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.simulated import check_request
from tessera.medical.simulate.airway_config import AirwayConfig
from tessera.medical.simulate.phantom import Phantom, simulate_phantom, truth_of
from tessera.medical.simulate.scan_files import write_dicom_series, write_json, write_nifti

FOLDS = 5
CLASSES = ("background", "airway")
SMALL: dict[str, Any] = {
    "shape": [64, 64, 64],
    "spacing_mm": [2.5, 2.5, 2.5],
    "generations": 0,
    "label_min_diameter_mm": 4.0,
    "vessels": 100,
}
"""A phantom in a quarter of a second: the middle of the chest, airways down to the segments."""

Progress = Callable[[int, int], None]


def simulate_airway(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write phantoms and a manifest with the mask target ``label`` below ``out``.

    Args:
        out: New folder; its name becomes the data set's id.
        n: Number of phantoms.
        seed: Not negative; the same seed gives the same bytes, and the first cases of a larger set.
        values: Fields of ``AirwayConfig`` that differ from its defaults.
        progress: Called with (done, n).
    """
    config = validate(AirwayConfig, values or {}, source="airway")
    check_request("phantoms", n=n, seed=seed)
    cases = []
    for index in range(n):
        cases.append(_write_case(out, index, seed=seed, config=config))
        if progress is not None:
            progress(index + 1, n)
    manifest = Manifest.create(_info(out.resolve().name, seed=seed), cases, folder=out)
    manifest.save(out)
    return manifest


def simulate_small_airway(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """The same with volumes of 64 voxels a side unless ``values`` say otherwise; see ``SMALL``."""
    return simulate_airway(out, n=n, seed=seed, values=merge(SMALL, values or {})[0], progress=progress)


def airway_phantom(index: int, *, seed: int, config: AirwayConfig) -> Phantom:
    """Phantom ``index`` (from 0) of a set, whatever the size of the set."""
    return simulate_phantom(np.random.SeedSequence(seed, spawn_key=(index,)), config)


def _write_case(out: Path, index: int, *, seed: int, config: AirwayConfig) -> Case:
    name = f"airway-{index + 1:05d}"
    phantom = airway_phantom(index, seed=seed, config=config)
    grid = phantom.grid
    image, label = out / "images" / f"{name}.nii.gz", out / "labels" / f"{name}.nii.gz"
    write_nifti(image, phantom.image, grid)
    write_nifti(label, phantom.label.lumen, grid)
    if config.extras:
        for what, mask in {**phantom.masks, "branches": phantom.label.branches}.items():
            write_nifti(out / "extras" / f"{name}_{what}.nii.gz", mask, grid)
    if config.dicom:
        write_dicom_series(
            out / "dicom" / name,
            phantom.image,
            grid,
            case=name,
            seed=seed,
            thickness_mm=phantom.scan["slice_thickness_mm"],
        )
    truth = truth_of(phantom, case=name, seed=seed, config=config)
    write_json(out / "truth" / f"{name}.json", truth)
    return Case(
        id=name,
        files={"image": FileRef(path=image)},
        targets={"label": FileRef(path=label)},
        group=name,
        split=str(index % FOLDS + 1),
        meta=_meta(name, truth),
    )


def _meta(name: str, truth: Mapping[str, Any]) -> dict[str, str]:
    """Facts of a phantom for its manifest row."""
    keys = ("n_branches", "n_branches_in_view", "n_subvoxel_branches", "length_mm", "volume_mm3")
    facts = {key: str(truth[key]) for key in keys}
    facts["noise_hu"] = str(truth["scan"]["noise_hu"])
    facts["findings"] = ", ".join(sorted({finding["kind"] for finding in truth["findings"]})) or "none"
    return facts | {"truth": f"truth/{name}.json"}


def _info(name: str, *, seed: int) -> DatasetInfo:
    head = {
        "id": name,
        "title": f"Simulated airway trees, seed {seed}",
        "description": "Procedural airway trees in a CT-like chest; the graph of every tree lies in truth/.",
        "licence": "CC0-1.0",
        "source": "tessera simulate airway",
        "role": "image",
        "targets": {"label": {"kind": "mask", "classes": list(CLASSES)}},
        "splits": "folds 1 to 5 in turn",
        "simulated": True,
    }
    return validate(DatasetInfo, head, source=f"the manifest of {name}")
