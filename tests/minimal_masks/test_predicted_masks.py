"""Masks predicted earlier are scored against the labels of the same contents, however they are called."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from tessera.core.bundle.bundle import Bundle
from tessera.core.cli.app import app
from tessera.core.data.case import Case, FileRef
from tessera.core.data.hashing import InputHasher
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError
from tessera.core.inference.ledger import Row
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps
from tessera.core.pipeline import Pipeline
from tessera.core.testing import contract
from tessera.core.training.predicted_masks import Predicted, bundle_of_predictions, score_predicted
from tessera.core.training.scoring import score_masks
from tessera.core.training.train import Plan, train_one


@pytest.fixture
def predicted(masks: Pipeline, tmp_path: Path) -> tuple[Manifest, Bundle, Path]:
    """A bundle, and its predictions of renamed copies of all cases but one."""
    from tessera.minimal_masks.simulate import simulate_discs

    manifest = simulate_discs(tmp_path / "discs", n=8, seed=3)
    config = contract.load_preset(masks, "smoke", trainer={"max_epochs": 1})
    bundle = train_one(Plan(config=config, data=str(manifest.folder)), masks, out=tmp_path / "run").bundle
    for number, case in enumerate(manifest.cases[1:]):
        file = next(ref.path for ref in case.all_files() if ref.path is not None)
        (tmp_path / "renamed").mkdir(exist_ok=True)
        shutil.copy(file, tmp_path / "renamed" / f"scan{number}.npy")
    steps = Steps.from_bundle(bundle, device="cpu")
    cases = sorted(steps.reader.find(tmp_path / "renamed"), key=lambda case: case.id)
    run(steps, cases, tmp_path / "out")
    return manifest, bundle, tmp_path / "out"


def test_scores_equal_those_of_the_bundle(predicted: tuple[Manifest, Bundle, Path]) -> None:
    manifest, bundle, out = predicted
    found, failures = score_predicted(out, bundle_of_predictions(out), manifest.cases, target_name="label")
    expected, _ = score_masks(bundle, manifest.cases[1:], target_name="label")
    assert list(failures) == [manifest.cases[0].id]
    assert "was not predicted" in failures[manifest.cases[0].id]
    assert found.case_id == expected.case_id
    assert np.array_equal(found.values, expected.values, equal_nan=True)


def test_the_command_takes_the_folder_and_counts_what_is_missing(
    predicted: tuple[Manifest, Bundle, Path], tmp_path: Path
) -> None:
    manifest, _, out = predicted
    done = CliRunner().invoke(
        app, ["evaluate", str(out), "--data", str(manifest.folder), "--out", str(tmp_path / "scores")]
    )
    assert done.exit_code == 3, done.output
    assert "n = 7 cases" in done.output
    assert (tmp_path / "scores" / "predictions.csv").is_file()


def test_other_files_than_those_predicted_are_refused(
    predicted: tuple[Manifest, Bundle, Path], tmp_path: Path
) -> None:
    from tessera.minimal_masks.simulate import simulate_discs

    _, bundle, out = predicted
    other = simulate_discs(tmp_path / "other", n=3, seed=99)
    with pytest.raises(DataError, match="belongs to a labelled case"):
        score_predicted(out, bundle, other.cases, target_name="label")


def test_a_folder_without_its_bundle_says_what_is_missing(
    predicted: tuple[Manifest, Bundle, Path], tmp_path: Path
) -> None:
    _, bundle, out = predicted
    bundle.path.rename(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="was made with is not there"):
        bundle_of_predictions(out)


def row(case_id: str, *files: str, input_hash: str = "") -> Row:
    paths = tuple(FileRef(path=Path(file)) for file in files)
    return Row(case=Case(id=case_id, files={"image": paths}, group="g"), status="ok", input_hash=input_hash)


def labelled(case_id: str, **meta: str) -> Case:
    return Case(id=case_id, files={"image": FileRef(path=Path(__file__))}, group="g", meta=meta)


@pytest.mark.parametrize(
    ("case", "found"),
    [
        (labelled("scan1"), "scan1.nii.gz"),  # the id without its endings
        (labelled("a/scan1.mha"), None),  # of another folder
        (labelled("patient7"), "0f3a"),  # the folder of a series
        (labelled("patient8"), None),  # a single file says nothing about its folder
        (labelled("lung", series="0f3a"), "0f3a"),  # a column of the manifest
    ],
)
def test_other_files_of_a_labelled_case_are_found_by_name(case: Case, found: str | None) -> None:
    predicted = Predicted(
        [
            row("scan1.nii.gz", "in/scan1.nii.gz"),
            row("0f3a", "in/patient7/1.dcm", "in/patient7/2.dcm"),
            row("77c1", "in/patient8/1.dcm"),
        ]
    )
    answer = predicted.of(case)
    assert (answer and answer.case.id) == found


def test_the_content_goes_before_the_name() -> None:
    case = labelled("scan1")
    digest = InputHasher().hash(case.all_files(), case.select)
    predicted = Predicted([row("scan1", "in/scan1.npy"), row("other", "in/o.npy", input_hash=digest)])
    found = predicted.of(case)
    assert found is not None
    assert found.case.id == "other"


def test_a_name_that_several_predicted_cases_have_is_refused() -> None:
    """Two series in one folder."""
    rows = [row("0f3a", "in/p/1.dcm", "in/p/2.dcm"), row("77c1", "in/p/3.dcm", "in/p/4.dcm")]
    with pytest.raises(DataError, match="several") as error:
        Predicted(rows).of(labelled("p"))
    assert error.value.found == "0f3a, 77c1"
