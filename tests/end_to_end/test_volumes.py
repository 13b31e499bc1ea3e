"""Volumes as a person uses them: phantoms to a bundle, broken scans in a folder, a plan of own data."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from tests.end_to_end.conftest import Tessera

from tessera.core.config import load_yaml, merge, validate
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split, make_split
from tessera.core.training.fit import fit
from tessera.core.training.history import read_metrics
from tessera.core.training.run_folder import Run
from tessera.medical.config import VolumeConfig
from tessera.medical.configure import configure
from tessera.medical.pipelines import VOLUMES

PLACE_FIELDS = (
    "dim",
    "pixdim",
    "qform_code",
    "sform_code",
    "srow_x",
    "srow_y",
    "srow_z",
    "quatern_b",
    "quatern_c",
    "quatern_d",
    "qoffset_x",
    "qoffset_y",
    "qoffset_z",
    "xyzt_units",
)
OBLIQUE = np.array([[-2.4, 0.3, 0.1, 60.0], [0.3, 2.4, 0.2, -75.0], [-0.1, -0.2, 2.5, 11.0], [0, 0, 0, 1]])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder of this module, with the cache in it."""
    folder = tmp_path_factory.mktemp("volumes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TESSERA_CACHE", str(folder / "cache"))
        yield folder


@pytest.fixture(scope="module")
def phantoms(tessera: Tessera, place: Path) -> Path:
    out = place / "sims"
    outcome = tessera(
        "simulate", "airway-small", "--n", 6, "--seed", 1, "--out", out, "--set", "shape=[40,40,40]", "-q"
    )
    assert outcome.code == 0, outcome.err
    return out


def trained(tessera: Tessera, pipeline: str, data: Path, out: Path) -> Path:
    outcome = tessera(
        "train", pipeline, "--preset", "smoke", "--data", data, "--fold", 1, "--out", out, "--quiet"
    )
    assert outcome.code == 0, outcome.err
    return out


@pytest.fixture(scope="module")
def run(tessera: Tessera, place: Path, phantoms: Path) -> Path:
    return trained(tessera, "airway", phantoms, place / "run")


def turned_copy(phantom: Path, path: Path) -> Path:
    """The same scan in the same place, stored left to right, back to front, feet first, axes in turn."""
    image = nibabel.load(phantom)
    axes = nibabel.orientations.axcodes2ornt("SLP")
    nibabel.save(
        image.as_reoriented(
            nibabel.orientations.ornt_transform(nibabel.orientations.io_orientation(image.affine), axes)
        ),
        path,
    )
    return path


def broken_scans(folder: Path, good: Path) -> dict[str, str]:
    """Five files that are no scan, each with words its cause must have."""
    values = np.asarray(nibabel.load(good).dataobj)
    whole = good.read_bytes()
    (folder / "cut-short.nii.gz").write_bytes(whole[: len(whole) // 2])
    holes = values.astype(np.float32)
    holes[3:5, 3, 3] = np.nan
    nibabel.save(nibabel.Nifti1Image(holes, OBLIQUE), folder / "nan.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.stack([values, values], axis=3), OBLIQUE), folder / "four-axes.nii.gz"
    )
    flat = nibabel.Nifti1Image(values, OBLIQUE)
    flat.header.set_sform(np.diag([2.5, 2.5, 0.0, 1.0]), code=1)
    flat.header.set_qform(None, code=0)
    nibabel.Nifti1Image(values, None, flat.header).to_filename(folder / "flat.nii.gz")
    (folder / "text.nii").write_text("patient lay on the left side\n" * 40, encoding="utf-8")
    return {
        "cut-short.nii.gz": "cannot read",
        "nan.nii.gz": "2 of",
        "four-axes.nii.gz": "more than one volume",
        "flat.nii.gz": "affine",
        "text.nii": "is no NIfTI file",
    }


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_run_on_phantoms_holds_what_the_next_person_needs(tessera: Tessera, run: Path) -> None:
    wanted = (
        "config.yaml environment.json splits.csv metrics.csv run.json summary.json report.html "
        "evaluation.json predictions.csv bundle/card.json bundle/SHA256SUMS"
    )
    assert [name for name in wanted.split() if not (run / name).is_file()] == []
    card = json.loads((run / "bundle" / "card.json").read_text())
    assert card["target"]["classes"] == ["background", "airway"]
    assert {metric["name"] for metric in card["metrics"]} >= {"dice_airway", "td", "bd"}
    assert tessera("bundle", "verify", run / "bundle").code == 0


def test_five_broken_scans_fail_and_the_others_are_done(
    tessera: Tessera, run: Path, phantoms: Path, tmp_path: Path
) -> None:
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    phantom = sorted((phantoms / "images").iterdir())[0]
    values = np.asarray(nibabel.load(phantom).dataobj)
    (folder / "a.nii.gz").write_bytes(phantom.read_bytes())
    turned_copy(phantom, folder / "b.nii.gz")
    oblique = nibabel.Nifti1Image(values, OBLIQUE)
    oblique.header.set_qform(OBLIQUE, code=2, strip_shears=True)
    nibabel.save(oblique, folder / "c.nii")
    causes = broken_scans(folder, phantom)
    outcome = tessera("predict", run / "bundle", folder, "--out", out, "--json")
    assert outcome.code == 3, outcome.err
    counts = json.loads(outcome.out)
    assert (counts["ok"] + counts["suspicious"], counts["failed"]) == (3, 5)
    failures = {row["case_id"]: row for row in rows_of(out / "failures.csv")}
    assert set(failures) == set(causes)
    for name, words in causes.items():
        assert failures[name]["status"] == "failed"
        assert words in failures[name]["error"], failures[name]["error"]
    masks = {name: nibabel.load(out / "masks" / f"{name}.nii.gz") for name in "abc"}
    for name, mask in masks.items():
        (source,) = folder.glob(f"{name}.nii*")
        before = nibabel.load(source).header
        for field in PLACE_FIELDS:
            assert mask.header[field].tobytes() == before[field].tobytes(), f"{name}: {field}"
        assert mask.header.get_data_dtype() == np.uint8
        assert set(np.unique(np.asarray(mask.dataobj))) <= {0, 1}

    report = tessera("report", out)
    assert report.code == 0, report.err
    page = Path(report.out.strip()).read_text(encoding="utf-8")
    assert all(name in page for name in causes)
    assert 'src="http' not in page


def test_a_scan_stored_another_way_gets_the_same_mask_in_its_own_way(
    tessera: Tessera, phantoms: Path, tmp_path: Path
) -> None:
    bundle = trained(tessera, "volumes", phantoms, tmp_path / "run") / "bundle"
    folder = tmp_path / "in"
    folder.mkdir()
    phantom = sorted((phantoms / "images").iterdir())[0]
    (folder / "a.nii.gz").write_bytes(phantom.read_bytes())
    turned_copy(phantom, folder / "b.nii.gz")
    assert tessera("predict", bundle, folder, "--out", tmp_path / "out", "-q").code == 0
    straight, turned = (nibabel.load(tmp_path / "out" / "masks" / f"{name}.nii.gz") for name in "ab")
    assert nibabel.aff2axcodes(straight.affine) != nibabel.aff2axcodes(turned.affine) == ("S", "L", "P")
    found = nibabel.as_closest_canonical(straight).get_fdata()
    assert 0.001 < found.mean() < 0.999
    np.testing.assert_array_equal(nibabel.as_closest_canonical(turned).get_fdata(), found)


# ---------------------------------------------------------------- a person's own volumes


def write_cubes(folder: Path, n: int) -> None:
    """Scans of 16 voxels a side with a bright block in each, as nnU-Net lays its folders."""
    rng = np.random.default_rng(2)
    for name in ("imagesTr", "labelsTr"):
        (folder / name).mkdir(parents=True)
    for number in range(n):
        mask = np.zeros((16, 16, 16), dtype=np.uint8)
        corner = rng.integers(2, 8, 3)
        mask[tuple(slice(a, a + 6) for a in corner)] = 1
        image = (rng.normal(100, 10, mask.shape) + 80 * mask).astype(np.float32)
        affine = np.diag([1.0, 1.0, 1.0, 1.0])
        nibabel.save(nibabel.Nifti1Image(image, affine), folder / "imagesTr" / f"p{number}_scan.nii.gz")
        nibabel.save(nibabel.Nifti1Image(mask, affine), folder / "labelsTr" / f"p{number}_scan.nii.gz")


@pytest.fixture(scope="module")
def cubes(tessera: Tessera, place: Path) -> Path:
    write_cubes(place / "cubes", 6)
    out = place / "manifests" / "cubes"
    outcome = tessera(
        "data",
        "make",
        "--volumes",
        place / "cubes" / "imagesTr",
        "--labels",
        place / "cubes" / "labelsTr",
        "--patient-id",
        r"(\w+)_.*",
        "--classes",
        "background,block",
        "--out",
        out,
        "-q",
    )
    assert outcome.code == 0, outcome.err
    return out


def test_a_plan_says_what_follows_from_the_volumes(tessera: Tessera, cubes: Path, tmp_path: Path) -> None:
    outcome = tessera("plan", "volumes", "--data", cubes, "--out", tmp_path / "plan.yaml", "-q")
    assert outcome.code == 0, outcome.err
    for words in ("spacing", "patch", "16 x 16 x 16", "1 x 1 x 1", "batch", "memory", "an epoch draws"):
        assert words in outcome.out.lower(), outcome.out
    planned = validate(VolumeConfig, load_yaml(tmp_path / "plan.yaml"), source="plan.yaml")
    assert planned.data.patch == (16, 16, 16)
    assert planned.data.spacing_mm == (1.0, 1.0, 1.0)


@pytest.mark.slow  # a network of planned width
def test_volumes_train_with_the_planned_network(tessera: Tessera, cubes: Path, tmp_path: Path) -> None:
    outcome = tessera(
        "train",
        "volumes",
        "--preset",
        "unet",
        "--data",
        cubes,
        "--out",
        tmp_path / "run",
        "--quiet",
        "--set",
        "trainer.max_steps=2",
        "--fold",
        1,
    )
    assert outcome.code == 0, outcome.err
    config = validate(VolumeConfig, load_yaml(tmp_path / "run" / "config.yaml"), source="config.yaml")
    assert config.data.patch == (16, 16, 16)
    assert config.model.features is not None and config.model.features[0] == 32  # type: ignore[union-attr]
    assert json.loads((tmp_path / "run" / "summary.json").read_text())["steps"] == 2
    assert tessera("bundle", "verify", tmp_path / "run" / "bundle").code == 0


class Kill(Callback):
    """Raises after the n-th batch."""

    def __init__(self, n: int) -> None:
        self.left = n

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def planned(cubes: Path) -> tuple[VolumeConfig, Manifest, Split]:
    """The plain network planned for the cubes, narrowed, with every random change of a batch."""
    manifest = Manifest.load(cubes)
    split = make_split(manifest.cases, fold="1", val_fraction=0.2, target="label")
    short = {
        "trainer": {"max_steps": 4, "batch_size": 2, "checkpoint_every_steps": 1},
        "data": {"plan_batch": False},
    }
    values, _ = merge(VOLUMES.preset_values("unet"), short)
    return configure(validate(VolumeConfig, values, source="unet"), manifest, split), manifest, split


def assert_same(one: Run, other: Run) -> None:
    def values(run: Run) -> list[dict[str, float | None]]:
        rows = read_metrics(run.folder / "metrics.csv")
        return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]

    assert values(one) == values(other)
    first, second = (torch.load(run.last, weights_only=True)["state_dict"] for run in (one, other))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.slow  # trains twice
@pytest.mark.parametrize("kill_at", [1, 3])
def test_a_run_that_was_killed_ends_as_if_it_had_not_been(cubes: Path, tmp_path: Path, kill_at: int) -> None:
    config, manifest, split = planned(cubes)
    whole = fit(config, VOLUMES, manifest, out=tmp_path / "whole", split=split)
    with pytest.raises(KeyboardInterrupt):
        fit(config, VOLUMES, manifest, out=tmp_path / "killed", split=split, callbacks=[Kill(kill_at)])
    resumed = fit(config, VOLUMES, manifest, out=tmp_path / "killed", split=split, resume=True)
    assert resumed.steps == whole.steps == 4
    assert_same(whole, resumed)
