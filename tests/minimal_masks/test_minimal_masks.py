"""A field of masks keeps the whole contract, and its runs can be killed, repeated and trusted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from safetensors.torch import load_file, save_file

from tessera.core.bundle.bundle import Bundle, combine
from tessera.core.data.geometry import Pixels, Region
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split, make_split
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError
from tessera.core.inference.api import Predictor
from tessera.core.pipeline import Pipeline
from tessera.core.report.report import Report
from tessera.core.run_config import RunConfig
from tessera.core.testing import contract, mask_contract
from tessera.core.training.fit import fit
from tessera.core.training.history import read_metrics
from tessera.core.training.run_folder import Run
from tessera.core.training.scoring import evaluate_bundle, load_predictions
from tessera.core.training.study import run_study
from tessera.core.training.study_config import Arm, StudyConfig
from tessera.core.training.train import Plan, train_folds, train_one

SPEC = TargetSpec(kind="mask", classes=("background", "disc", "square"))


class KilledError(Exception):
    """Stands for a kill inside the process."""


class Kill(Callback):
    """Raises after the n-th batch."""

    def __init__(self, n: int) -> None:
        self.left = n

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        self.left -= 1
        if not self.left:
            raise KilledError


@pytest.fixture
def manifest(masks: Pipeline, tmp_path: Path) -> Manifest:
    from tessera.minimal_masks.simulate import simulate_discs

    return simulate_discs(tmp_path / "discs", n=12, seed=3)


@pytest.fixture
def split(manifest: Manifest) -> Split:
    return make_split(manifest.cases, n_folds=4, val_fraction=0.25, target="label")


@pytest.fixture
def configure(masks: Pipeline) -> Callable[..., RunConfig]:
    def make(**sections: Any) -> RunConfig:
        sections["trainer"] = {"max_epochs": 2, "checkpoint_every_steps": 1} | sections.get("trainer", {})
        return contract.load_preset(masks, "smoke", **sections)

    return make


def weights(run: Run) -> dict[str, Any]:
    return torch.load(run.last, weights_only=True)["state_dict"]


def values(run: Run) -> list[dict[str, float | None]]:
    rows = read_metrics(run.folder / "metrics.csv")
    return [{name: value for name, value in row.items() if name != "seconds"} for row in rows]


def assert_same(one: Run, other: Run) -> None:
    assert values(one) == values(other)
    first, second = weights(one), weights(other)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_it_keeps_the_contract(masks: Pipeline, manifest: Manifest, tmp_path: Path) -> None:
    contract.check_pipeline(masks)
    contract.check_nothing_escapes([masks])
    contract.check_preset(masks, "smoke")
    config = contract.load_preset(masks, "smoke")
    contract.check_network(masks, config)
    contract.check_gradients(masks, config)
    contract.check_state_dict(masks, config)
    contract.check_transforms(masks, config)
    contract.check_simulator(masks, "discs", tmp_path / "sets")
    contract.check_reading(masks, config, manifest.cases)
    contract.check_writing(masks, config, manifest.cases[:3], tmp_path / "out")
    mask_contract.check_masks(masks, config, manifest.cases, SPEC)
    mask_contract.check_scores(masks, config, manifest.cases[:3])


@pytest.mark.slow
def test_the_smoke_preset_trains(masks: Pipeline, tmp_path: Path) -> None:
    contract.check_training(masks, "discs", tmp_path)
    contract.check_export(masks, contract.load_preset(masks, "smoke"))


def test_masks_are_found_again(masks: Pipeline, configure: Callable[..., RunConfig], tmp_path: Path) -> None:
    from tessera.minimal_masks.simulate import simulate_discs

    manifest = simulate_discs(tmp_path / "more", n=20, seed=1)
    config = configure(trainer={"max_epochs": 8, "checkpoint_every_steps": 1000})
    done = train_one(Plan(config=config, data=str(manifest.folder), fold="1"), masks, out=tmp_path / "run")
    assert done.evaluation is not None
    assert done.evaluation.task == "segmentation"
    assert done.evaluation.metrics["dice"].value > 0.6
    assert done.bundle.verify() == 0.0
    names = [metric.name for metric in done.bundle.card.metrics]
    assert names[:2] == ["dice", "dice_disc"]
    assert done.bundle.card.target == SPEC
    assert done.bundle.calibration.n == 0
    rows = read_metrics(tmp_path / "run" / "metrics.csv")
    assert {"val_dice", "val_dice_disc", "val_dice_square"} <= set(rows[0])
    assert rows[-1]["val_dice"] == pytest.approx(
        (rows[-1]["val_dice_disc"] or 0) / 2 + (rows[-1]["val_dice_square"] or 0) / 2
    )
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Each class on the test cases" in page
    assert "lowest first" in page
    assert "confused" not in page


@pytest.mark.parametrize(
    "n", [pytest.param(n, marks=[] if n == 5 else pytest.mark.slow) for n in range(1, 9)]
)
def test_a_killed_run_ends_as_an_uninterrupted_one(
    masks: Pipeline,
    manifest: Manifest,
    split: Split,
    configure: Callable[..., RunConfig],
    tmp_path: Path,
    n: int,
) -> None:
    config, out = configure(), tmp_path / "killed"
    whole = fit(config, masks, manifest, out=tmp_path / "whole", split=split)
    assert whole.steps == 8
    with pytest.raises(KilledError):
        fit(config, masks, manifest, out=out, split=split, callbacks=[Kill(n)])
    assert_same(whole, fit(config, masks, manifest, out=out, split=split, resume=True))


@pytest.mark.slow
def test_workers_change_nothing(
    masks: Pipeline,
    manifest: Manifest,
    split: Split,
    configure: Callable[..., RunConfig],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    field = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", field)  # workers are new processes
    runs = [
        fit(configure(trainer={"workers": n}), masks, manifest, out=tmp_path / str(n), split=split)
        for n in (0, 2)
    ]
    assert_same(*runs)


def test_without_a_cache_the_same_is_learnt(
    masks: Pipeline, manifest: Manifest, split: Split, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    runs = [
        fit(configure(data={"cache": kept}), masks, manifest, out=tmp_path / str(kept), split=split)
        for kept in (True, False)
    ]
    assert_same(*runs)


def test_a_budget_sets_the_number_of_steps(
    masks: Pipeline, manifest: Manifest, split: Split, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = configure(trainer={"max_epochs": 1})
    run = fit(config, masks, manifest, out=tmp_path / "run", split=split, budget_s=60.0)
    assert run.steps == 4
    assert "max_steps: 4" in (tmp_path / "run" / "config.yaml").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "task",
    [
        {"loss": "likelihood"},
        {"loss": {"kind": "dice_ce", "ce_weight": 0.0, "batch_dice": True}},
        {"loss": {"kind": "dice_ce", "tversky_alpha": 0.3, "tversky_beta": 0.7}, "label_smoothing": 0.1},
        {"class_weights": "balanced"},
    ],
)
def test_every_loss_trains(
    masks: Pipeline,
    manifest: Manifest,
    split: Split,
    configure: Callable[..., RunConfig],
    tmp_path: Path,
    task: dict[str, Any],
) -> None:
    config = configure(task=task, trainer={"max_epochs": 4}, augment={"rotation_probability": 0.0})
    rows = read_metrics(
        fit(config, masks, manifest, out=tmp_path / "run", split=split).folder / "metrics.csv"
    )
    assert (rows[-1]["train_loss"] or 0) < (rows[0]["train_loss"] or 0)


@pytest.mark.parametrize("loss", ["bias", "margin"])
def test_a_loss_of_whole_cases_is_refused(
    masks: Pipeline,
    manifest: Manifest,
    split: Split,
    configure: Callable[..., RunConfig],
    tmp_path: Path,
    loss: str,
) -> None:
    with pytest.raises(ConfigError, match=f"task.loss={loss}"):
        fit(configure(task={"loss": loss}), masks, manifest, out=tmp_path / "run", split=split)


def test_a_mask_with_unknown_labels_is_named(
    masks: Pipeline, manifest: Manifest, split: Split, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    case = split.cases(manifest.cases, "train")[0]
    path = case.target_file("label").path
    assert path is not None
    mask = np.load(path)
    mask[0, 0] = 7
    np.save(path, mask)
    with pytest.raises(DataError, match=f"{case.id}.*no class") as caught:
        fit(configure(), masks, manifest, out=tmp_path / "run", split=split)
    assert caught.value.found == "7"


def test_a_coarser_grid_is_learnt_and_scored_on_the_original_one(
    masks: Pipeline, manifest: Manifest, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = configure(data={"coarse": 2, "window": 8}, trainer={"max_epochs": 4})
    done = train_one(Plan(config=config, data=str(manifest.folder), fold="2"), masks, out=tmp_path / "run")
    test = Split.read(tmp_path / "run" / "splits.csv").cases(manifest.cases, "test")
    result = Predictor.from_bundle(done.bundle.path, device="cpu").result(test[0])
    assert result.mask is not None
    assert result.mask.shape == np.load(test[0].path("image")).shape
    stored = load_predictions(tmp_path / "run", SPEC)
    place = list(stored.case_id).index(test[0].id)
    truth = np.load(test[0].target_file("label").path or "")
    expected = 2 * ((result.mask == 1) & (truth == 1)).sum() / ((result.mask == 1).sum() + (truth == 1).sum())
    assert stored.values[place, 0] == pytest.approx(expected)  # type: ignore[union-attr]


def test_the_golden_pair_of_a_large_window_stays_small(
    masks: Pipeline, manifest: Manifest, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = configure(
        data={"window": 320, "regions_per_case": 1},
        trainer={"max_steps": 1, "batch_size": 1},
        model={"width": 2},
    )
    done = train_one(Plan(config=config, data=str(manifest.folder), fold="1"), masks, out=tmp_path / "run")
    golden = done.bundle.path / "golden.safetensors"
    assert (
        golden.stat().st_size < 320 * 320 + 1_000_000 + 1000
    )  # whole: 3 x 4 bytes an element, and the input
    assert done.bundle.verify() == 0.0
    weights = load_file(done.bundle.path / "members" / "0" / "model.safetensors")
    weights["body.classes.0.bias"] += 0.01
    save_file(weights, done.bundle.path / "members" / "0" / "model.safetensors")
    assert done.bundle.replay() == pytest.approx(0.01, rel=1e-3)


def test_what_cannot_be_scored_is_a_failure_of_that_case(
    masks: Pipeline, manifest: Manifest, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    config = configure(trainer={"max_epochs": 1})
    done = train_one(Plan(config=config, data=str(manifest.folder), fold="1"), masks, out=tmp_path / "run")
    cases = manifest.cases[:4]
    wrong = cases[1].target_file("label").path
    assert wrong is not None
    np.save(wrong, np.zeros((3, 3), dtype=np.uint8))
    cases[2].path("image").write_bytes(b"cut")
    evaluation = evaluate_bundle(
        done.bundle, cases, target_name="label", out=tmp_path / "again", device="cpu"
    )
    assert evaluation.n == 2
    failures = json.loads((tmp_path / "again" / "evaluation-failures.json").read_text(encoding="utf-8"))
    assert set(failures) == {cases[1].id, cases[2].id}
    assert "does not fit" in failures[cases[1].id]


@pytest.mark.slow
def test_folds_are_pooled_and_their_networks_combined(
    masks: Pipeline, manifest: Manifest, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    plan = Plan(config=configure(), data=str(manifest.folder), n_folds=3)
    done = train_folds(plan, masks, folds="all", out=tmp_path / "runs")
    assert done.evaluation is not None
    assert done.evaluation.n == len(manifest.cases)
    assert done.bundle.card.members == 3
    assert done.bundle.verify() == 0.0
    assert (tmp_path / "runs" / "report.html").is_file()
    mask = Predictor.from_bundle(done.bundle.path, device="cpu").result(manifest.cases[0]).mask
    assert mask is not None
    assert combine(tmp_path / "two", [Bundle.load(done.bundle.path)] * 2).card.members == 6


@pytest.mark.slow
def test_a_study_compares_masks_case_by_case(masks: Pipeline, manifest: Manifest, tmp_path: Path) -> None:
    study = StudyConfig(
        id="discs",
        title="Losses",
        pipeline="minimal-masks",
        data=str(manifest.folder),
        n_folds=3,
        folds=("1", "2"),
        metric="dice",
        set={"trainer.max_epochs": 2},
        arms=(
            Arm(preset="smoke", name="dice and ce"),
            Arm(preset="smoke", name="ce", set={"task.loss": "likelihood"}),
        ),
    )
    first, second = run_study(study, out=tmp_path / "runs")
    assert first.n == second.n == 8
    assert "[" in second.difference
    assert {"dice", "dice_disc", "dice_square"} <= set(first.metrics)


def test_a_window_of_a_place_at_the_end_stays_inside(masks: Pipeline) -> None:
    windows = masks.resolve("windows")(contract.load_preset(masks, "smoke"))
    around = windows.draw_at(Pixels((5, 40)), (0, 39), np.random.default_rng(0))
    assert around == Region((0, 24), (5, 40))


def test_a_class_no_case_has_is_remarked_on_before_training(
    masks: Pipeline,
    manifest: Manifest,
    split: Split,
    configure: Callable[..., RunConfig],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for case in manifest.cases:
        path = case.target_file("label").path
        assert path is not None
        np.save(path, np.minimum(np.load(path), 1))
    fit(configure(trainer={"max_epochs": 1}), masks, manifest, out=tmp_path / "run", split=split)
    assert any(
        "no training case has a single element of class square" in r.getMessage() for r in caplog.records
    )


def test_a_run_page_is_written_without_the_evaluation(
    masks: Pipeline, manifest: Manifest, split: Split, configure: Callable[..., RunConfig], tmp_path: Path
) -> None:
    fit(configure(trainer={"max_epochs": 1}), masks, manifest, out=tmp_path / "run", split=split)
    assert "not recorded" in Report(tmp_path / "run").write().read_text(encoding="utf-8")
