"""Classical rivals on features whose answer is known, and as finished runs of a study."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tessera.astronomy.metrics import roc, scores_of
from tessera.astronomy.rivals import RIVALS, AsymmetryCutConfig, ForestConfig, predict_fold, run_rival
from tessera.astronomy.shape_features import FeatureTable
from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.geometry import Pixels
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError
from tessera.core.evaluation import ClassPredictions, read_predictions
from tessera.core.evaluation.measures import read_measures
from tessera.core.training.scoring import load_evaluation
from tessera.core.training.train import SUMMARY_FILE

N = 240
NAMES = ("asymmetry", "mask_asymmetry", "gini")
LABEL = TargetSpec(kind="class", classes=("none", "tidal"))


def manifest_of(folder: Path, positive: npt.ArrayLike, spec: TargetSpec = LABEL) -> Manifest:
    """Cases whose files hold only their number; four official folds."""
    cases = []
    for number, tidal in enumerate(np.asarray(positive, dtype=bool)):
        path = folder / f"{number}.npy"
        np.save(path, np.array([number]))
        cases.append(
            Case(
                id=f"g{number:03d}",
                files={"image": FileRef(path=path)},
                targets={"label": spec.classes[int(tidal)]},
                group=f"g{number:03d}",
                split=str(number % 4 + 1),
            )
        )
    return Manifest.create(DatasetInfo(id="few", targets={"label": spec}), cases, folder=folder)


def table_of(values: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> FeatureTable:
    gini = np.where(positive, 0.4, 0.6)[:, None]
    return FeatureTable(tuple(f"g{i:03d}" for i in range(len(values))), NAMES, np.hstack([values, gini]))


def ring(seed: int = 0) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Plain galaxies in a disc of (A, A_mask), tidal ones around it: a conic tells them apart."""
    rng = np.random.default_rng(seed)
    positive = rng.random(N) < 0.4
    radius = np.where(positive, rng.uniform(0.12, 0.2, N), rng.uniform(0, 0.1, N))
    angle = rng.uniform(0, 2 * np.pi, N)
    return np.stack([0.3 + radius * np.cos(angle), 0.4 + radius * np.sin(angle)], axis=1), positive


def area(predictions: ClassPredictions) -> float:
    return roc(*scores_of(predictions)).auc


@pytest.mark.parametrize("name", RIVALS)
def test_every_rival_learns_what_a_conic_separates(name: str, tmp_path: Path) -> None:
    values, positive = ring()
    manifest = manifest_of(tmp_path, positive)
    config = ForestConfig(trees=30) if name == "forest" else RIVALS[name]
    first, again = (
        predict_fold(config, table_of(values, positive), manifest, target="label", fold="2", seed=1)
        for _ in range(2)
    )
    assert area(first.predictions) > 0.93
    assert np.array_equal(first.predictions.probabilities, again.predictions.probabilities)
    assert first.predictions.case_id == tuple(f"g{i:03d}" for i in range(1, N, 4))
    assert set(first.predictions.fold) == {"2"} and first.parameters > 0


@pytest.mark.parametrize("name", ["asymmetry-cut", "asymmetry-boost"])
def test_the_papers_rivals_see_the_two_asymmetries_alone(name: str, tmp_path: Path) -> None:
    values, positive = ring()
    manifest = manifest_of(tmp_path, positive)
    blind = table_of(np.full_like(values, 0.3), positive)  # gini alone would tell
    found = predict_fold(RIVALS[name], blind, manifest, target="label", fold="1")
    assert area(found.predictions) == 0.5


def test_the_tested_fold_teaches_nothing(tmp_path: Path) -> None:
    """Labels of the fold are turned round: predictions stay, and are all wrong."""
    values, positive = ring()
    turned = positive.copy()
    turned[::4] = ~turned[::4]
    table = table_of(values, positive)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    right, wrong = (
        predict_fold(
            AsymmetryCutConfig(), table, manifest_of(tmp_path / name, truth), target="label", fold="1"
        )
        for name, truth in (("a", positive), ("b", turned))
    )
    assert np.array_equal(right.predictions.probabilities, wrong.predictions.probabilities)
    assert area(wrong.predictions) == pytest.approx(1 - area(right.predictions))


@pytest.mark.parametrize("name", RIVALS)
def test_galaxies_without_measures_get_a_middling_answer(name: str, tmp_path: Path) -> None:
    values, positive = ring()
    values[:12] = np.nan
    config = ForestConfig(trees=20) if name == "forest" else RIVALS[name]
    found = predict_fold(
        config, table_of(values, positive), manifest_of(tmp_path, positive), target="label", fold="1"
    )
    assert np.isfinite(found.predictions.probabilities).all()
    assert area(found.predictions) > 0.9


def test_unreadable_cases_are_left_out_and_named(tmp_path: Path) -> None:
    values, positive = ring()
    full = table_of(values, positive)
    some = FeatureTable(full.case_id[2:], NAMES, full.values[2:], {"g000": "damaged", "g001": "damaged"})
    manifest = manifest_of(tmp_path, positive)
    found = predict_fold(AsymmetryCutConfig(), some, manifest, target="label", fold="1")
    assert found.failures == {"g000": "damaged"} and len(found.predictions) == N // 4 - 1
    none = FeatureTable(full.case_id[1:2], NAMES, full.values[1:2], {})
    with pytest.raises(DataError, match="no case of fold 1"):
        predict_fold(AsymmetryCutConfig(), none, manifest, target="label", fold="1")


def test_three_classes_are_refused(tmp_path: Path) -> None:
    values, positive = ring()
    spec = TargetSpec(kind="class", classes=("none", "tidal", "merger"))
    manifest = manifest_of(tmp_path, positive, spec)
    with pytest.raises(ConfigError, match="none, tidal, merger"):
        predict_fold(AsymmetryCutConfig(), table_of(values, positive), manifest, target="label", fold="1")


class GalaxyReader:
    """Draws the galaxy of a number, lopsided where it is odd."""

    def find(self, path: Path) -> Iterable[Case]:
        return ()

    def open(self, case: Case) -> ArraySource:
        number = int(np.load(case.path("image"), allow_pickle=False)[0])
        y, x = np.mgrid[:40, :40] - 20
        light = 80 * np.exp(-np.hypot(y, x) / 3) + (number % 2) * 40 * np.exp(-np.hypot(y - 6, x) / 2)
        noise = np.random.default_rng(number).normal(0, 1, (40, 40))
        return ArraySource((light + noise).astype(np.float32)[None], Pixels((40, 40)))


def test_a_rivals_fold_is_a_finished_run_of_a_study(tmp_path: Path) -> None:
    positive = np.arange(24) % 2 == 1
    # folds of pairs, so that each holds both kinds
    manifest = manifest_of(tmp_path, positive)
    cases = tuple(
        Case(**{**case.__dict__, "split": str(number // 2 % 4 + 1)})
        for number, case in enumerate(manifest.cases)
    )
    manifest = Manifest(manifest.info, cases, manifest.folder)
    out = tmp_path / "runs" / "asymmetry-cut" / "fold-3-seed-0"
    cache = tmp_path / "features"
    run = run_rival("asymmetry-cut", manifest, GalaxyReader(), out=out, fold="3", cache=cache)
    assert read_measures(out)[0].title == "Completeness and contamination"
    stored = read_predictions(out / "predictions.csv", task="multiclass")
    assert isinstance(stored, ClassPredictions)
    assert stored.case_id == run.predictions.case_id
    assert np.array_equal(stored.probabilities, run.predictions.probabilities)
    assert area(stored) == 1
    summary = json.loads((out / SUMMARY_FILE).read_text())
    assert summary["parameters"] == 6 and summary["seconds"] > 0
    evaluation = load_evaluation(out)
    assert evaluation is not None and evaluation.metrics["auroc_macro"].value == 1
    assert len(list(cache.iterdir())) == 1
    with pytest.raises(ConfigError, match="asymmetry-cut, asymmetry-boost, forest"):
        run_rival("gini", manifest, GalaxyReader(), out=out, fold="3")
