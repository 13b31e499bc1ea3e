"""``tessera data make --volumes``: pairs in, a manifest out, every refusal with its reason."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from typer.testing import CliRunner

from tessera.core.cli.app import app
from tessera.core.data.manifest import Manifest


def write(path: Path, values: np.ndarray, affine: np.ndarray | None = None) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4) if affine is None else affine), path)


def folders(root: Path) -> list[str]:
    rng = np.random.default_rng(0)
    for name in ("p1_a", "p1_b", "p2_a"):
        write(root / "imagesTr" / f"{name}_0000.nii.gz", rng.normal(size=(4, 5, 6)).astype(np.float32))
        write(root / "labelsTr" / f"{name}.nii.gz", rng.integers(0, 3, (4, 5, 6)).astype(np.uint8))
    return ["--volumes", str(root / "imagesTr"), "--labels", str(root / "labelsTr")]


def test_pairs_with_patients_become_a_manifest(tmp_path: Path) -> None:
    options = [*folders(tmp_path), "--patient-id", "^([^_]+)_", "--classes", "background,liver,tumour"]
    done = CliRunner().invoke(app, ["data", "make", *options, "--out", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.output
    manifest = Manifest.load(tmp_path / "mine")
    assert {case.id: case.group for case in manifest.cases} == {"p1_a": "p1", "p1_b": "p1", "p2_a": "p2"}
    assert manifest.target("label").classes == ("background", "liver", "tumour")
    assert "3 cases, 2 groups, 3 classes" in done.output


def test_a_pair_that_cannot_be_used_is_left_out_with_its_reason(tmp_path: Path) -> None:
    options = folders(tmp_path)
    write(tmp_path / "labelsTr" / "p1_a.nii.gz", np.zeros((4, 5, 6), np.uint8), np.diag([2.0, 1, 1, 1]))
    done = CliRunner().invoke(app, ["data", "make", *options, "--out", str(tmp_path / "mine")])
    assert done.exit_code == 0, done.output
    assert "1 files that cannot be read, left out" in done.output
    assert "do not lie on the same grid" in done.output
    assert len(Manifest.load(tmp_path / "mine").cases) == 2
    fixed = CliRunner().invoke(
        app, ["data", "make", *options, "--fix-affine", "--out", str(tmp_path / "all")]
    )
    assert len(Manifest.load(tmp_path / "all").cases) == 3
    assert "data.fix_affine=true" in fixed.output


def test_scans_need_masks_and_one_kind_of_files(tmp_path: Path) -> None:
    for options, words in (
        (["--volumes", str(tmp_path)], "give --labels FOLDER"),
        ([], "--audio FOLDER or --volumes FOLDER"),
        (["--volumes", str(tmp_path), "--audio", str(tmp_path)], "one folder of files"),
    ):
        done = CliRunner().invoke(app, ["data", "make", *options, "--out", str(tmp_path / "mine")])
        assert done.exit_code == 2
        assert words in done.output
