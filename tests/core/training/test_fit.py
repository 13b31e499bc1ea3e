from __future__ import annotations

import logging
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from lightning.pytorch import Callback
from torch import Tensor

from tessera.core.config import load_yaml
from tessera.core.data.case import Case
from tessera.core.errors import BundleError, ConfigError, DataError, TesseraError
from tessera.core.testing.synthetic import (
    SYNTHETIC,
    SyntheticConfig,
    synthetic_config,
    synthetic_manifest,
)
from tessera.core.training.budget import Speed, Stopwatch, steps_for
from tessera.core.training.checkpoints import is_better, network_weights
from tessera.core.training.history import read_metrics

from .conftest import Workbench

Configure = Callable[..., SyntheticConfig]


def weights_of(run: Any) -> dict[str, Tensor]:
    return network_weights(run.best)


def equal(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_one_batch_is_learnt_by_heart(bench: Workbench) -> None:
    config = synthetic_config(
        trainer={"max_epochs": 30, "batch_size": 32},
        optim={"lr": 0.1, "weight_decay": 0.0},
        model={"dropout": 0.0, "channels": 8},
    )
    rows = read_metrics(bench.fit("run", config).folder / "metrics.csv")
    assert rows[0]["train_loss"] > 0.9  # type: ignore[operator]
    assert rows[-1]["train_loss"] < 0.1  # type: ignore[operator]
    assert rows[-1]["val_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("target", "values"),
    [
        ("tags", {"val_loss", "val_auroc", "val_macro_f1"}),
        ("period", {"val_loss", "val_mae", "val_r2"}),
        ("shape", {"val_loss", "val_mae", "val_r2"}),
    ],
)
def test_tags_and_numbers_train_too(bench: Workbench, target: str, values: set[str]) -> None:
    task = {"tags": {"sampling": "balanced"}, "shape": {"loss": "moments"}}.get(target, {})
    config = synthetic_config(data={"target": target}, task=task)
    run = bench.fit("run", config)
    row = read_metrics(run.folder / "metrics.csv")[-1]
    assert values < row.keys()
    assert all(row[name] is not None for name in values)


def test_the_run_folder_holds_what_the_design_says(bench: Workbench) -> None:
    config = synthetic_config()
    run = bench.fit("run", config)
    files = {path.relative_to(run.folder).as_posix() for path in run.folder.rglob("*") if path.is_file()}
    names = {"config.yaml", "environment.json", "splits.csv", "metrics.csv", "training.json"}
    assert files == names | {"checkpoints/best.ckpt", "checkpoints/last.ckpt"}
    assert load_yaml(run.folder / "config.yaml") == config.model_dump(mode="json")


def test_training_twice_gives_the_same_weights_and_another_seed_others(
    bench: Workbench, configure: Configure
) -> None:
    first, second = (weights_of(bench.fit(name, configure())) for name in ("a", "b"))
    assert equal(first, second)
    other = configure().model_copy(update={"seed": 1})
    assert not equal(first, weights_of(bench.fit("c", other)))


def test_the_random_state_of_the_caller_changes_nothing_and_is_left_alone(
    bench: Workbench, configure: Configure
) -> None:
    before = weights_of(bench.fit("a", configure()))
    torch.manual_seed(99)
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[index]
    threads = torch.get_num_threads()
    after = weights_of(bench.fit("b", configure()))
    assert equal(before, after)
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1] == random.getstate()
    assert np.array_equal(states[2], np.random.get_state()[1])  # type: ignore[index]
    assert torch.get_num_threads() == threads
    assert torch.is_grad_enabled()


def test_best_weights_are_those_of_the_best_epoch(bench: Workbench, configure: Configure) -> None:
    config = configure(optim={"lr": 0.05}, trainer={"max_epochs": 6})
    run = bench.fit("run", config)
    losses = [row["val_loss"] for row in read_metrics(run.folder / "metrics.csv")]
    best = torch.load(run.best, weights_only=True)  # type: ignore[arg-type]
    assert best["values"]["val_loss"] == min(losses)  # type: ignore[type-var]
    assert best["epoch"] == losses.index(min(losses)) + 1  # type: ignore[type-var]


def test_last_weights_are_the_averaged_ones_where_an_average_is_kept(
    bench: Workbench, configure: Configure
) -> None:
    averaged = network_weights(bench.fit("a", configure()).last)
    plain = network_weights(bench.fit("b", configure(trainer={"ema_decay": 0.0})).last)
    assert averaged.keys() == plain.keys()
    assert not equal(averaged, plain)
    network = SYNTHETIC.resolve("network")(configure(), n_outputs=3)
    network.load_state_dict(averaged)


def test_an_unknown_monitor_is_refused_with_the_known_ones(bench: Workbench, configure: Configure) -> None:
    with pytest.raises(ConfigError, match="val_accuracy"):
        bench.fit("run", configure(trainer={"monitor": "val_auroc"}))
    assert not (bench.folder / "run").exists()


def test_without_validation_the_last_weights_count(bench: Workbench) -> None:
    split = bench.split()
    roles = {name: "unused" if role == "val" else role for name, role in split.roles.items()}
    split = type(split)(roles, split.groups, split.fold)
    run = bench.fit("run", synthetic_config(), split=split)
    assert run.best is None
    assert run.last.exists()
    with pytest.raises(ConfigError, match="patience"):
        bench.fit("other", synthetic_config(trainer={"patience": 3}), split=split)
    monitored = bench.fit("third", synthetic_config(trainer={"monitor": "train_loss"}), split=split)
    assert monitored.best is not None
    losses = [row["train_loss"] for row in read_metrics(monitored.folder / "metrics.csv")]
    assert len(set(losses)) == len(losses) > 1, "every epoch has a loss of its own"


def test_a_case_that_cannot_be_read_stops_the_training_by_name(bench: Workbench) -> None:
    first = next(name for name, role in sorted(bench.split().roles.items()) if role == "train")
    manifest = synthetic_manifest(16, broken=[int(first[-3:])])
    with pytest.raises(DataError, match=first):
        bench.fit("run", synthetic_config(), manifest=manifest)


class Poison(Callback):
    """Puts a NaN into a weight before a step."""

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 3:
            with torch.no_grad():
                next(pl_module.network.parameters()).fill_(float("nan"))


def test_a_loss_that_is_no_number_names_step_and_cases(bench: Workbench, configure: Configure) -> None:
    with pytest.raises(TesseraError, match=r"nan at step 4") as caught:
        bench.fit("run", configure(), callbacks=[Poison()])
    assert "cross_entropy nan" in str(caught.value.found)
    assert "case0" in str(caught.value.found)
    assert all(
        torch.isfinite(w).all() for w in network_weights(bench.folder / "run/checkpoints/last.ckpt").values()
    )


@pytest.mark.parametrize(
    ("steps_per_epoch", "steps"), [(50, [50, 100]), (51, [50, 51, 101, 102]), (49, [49, 98])]
)
def test_rows_inside_an_epoch_have_no_validation_values(
    bench: Workbench, steps_per_epoch: int, steps: list[int]
) -> None:
    def n_train(n: int) -> int:
        return list(Workbench(bench.folder, n).split().roles.values()).count("train")

    n = next(n for n in range(60, 150) if n_train(n) >= steps_per_epoch)
    assert n_train(n) == steps_per_epoch
    config = synthetic_config(trainer={"batch_size": 1, "max_epochs": 2})
    run = Workbench(bench.folder, n).fit("run", config)
    rows = read_metrics(run.folder / "metrics.csv")
    assert [row["step"] for row in rows] == steps
    for row in rows:
        assert (row["val_loss"] is None) == (row["step"] not in (steps_per_epoch, 2 * steps_per_epoch))
        assert row["train_loss"] > 0.3  # type: ignore[operator]


@pytest.fixture
def steady(monkeypatch: pytest.MonkeyPatch) -> None:
    """The network and loaders are timed for real, but the answer is always the same."""
    real = Stopwatch.speed

    def speed(watch: Stopwatch) -> Speed:
        assert real(watch).batch_s > 0
        return Speed(batch_s=10.0, epoch_end_s=0.0)

    monkeypatch.setattr(Stopwatch, "speed", speed)


@pytest.mark.usefixtures("steady")
def test_a_budget_writes_the_steps_and_changes_nothing_else(bench: Workbench, configure: Configure) -> None:
    config = configure(trainer={"max_epochs": 10_000, "checkpoint_every_steps": 1000})
    run = bench.fit("budget", config, budget_s=100.0)
    steps = load_yaml(run.folder / "config.yaml")["trainer"]["max_steps"]
    assert run.steps == steps
    assert 3 < steps < 10  # 10 s a batch, less what measuring took and the reserve
    same = bench.fit("steps", configure(trainer={"max_epochs": 10_000, "max_steps": steps}))
    assert equal(weights_of(run), weights_of(same))
    assert [r["train_loss"] for r in read_metrics(run.folder / "metrics.csv")] == [
        r["train_loss"] for r in read_metrics(same.folder / "metrics.csv")
    ]


@pytest.mark.usefixtures("steady")
def test_a_budget_is_not_measured_again_when_going_on(
    bench: Workbench, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    class StopError(Exception):
        pass

    class Stop(Callback):
        def on_train_batch_start(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 4:
                raise StopError

    config = configure(trainer={"max_epochs": 10_000})
    with pytest.raises(StopError):
        bench.fit("run", config, budget_s=100.0, callbacks=[Stop()])
    steps = load_yaml(bench.folder / "run/config.yaml")["trainer"]["max_steps"]
    monkeypatch.setattr("tessera.core.training.fit.steps_within", lambda *a, **k: pytest.fail("measured"))
    assert bench.fit("run", config, budget_s=100.0, resume=True).steps == steps


def test_steps_for_a_budget_of_a_worked_example() -> None:
    # 100 s: 5 s in reserve, 5 s for the last validation; an epoch of 10 batches takes 10 x 0.5 + 5 = 10 s
    speed = Speed(batch_s=0.5, epoch_end_s=5.0)
    assert steps_for(speed, 100.0, batches=10, accumulate=1) == 90
    assert steps_for(speed, 100.0, batches=10, accumulate=4) == 27
    assert steps_for(speed, 1.0, batches=10, accumulate=1) == 1


def test_a_budget_too_short_to_measure_is_refused(bench: Workbench, configure: Configure) -> None:
    with pytest.raises(ConfigError, match="budget is too short"):
        bench.fit("run", configure(), budget_s=0.001)


@pytest.mark.parametrize(
    ("value", "best", "better", "expected"),
    [
        (1.0, None, "min", True),
        (1.0, 2.0, "min", True),
        (2.0, 2.0, "min", False),
        (3.0, 2.0, "max", True),
        (float("nan"), None, "max", False),
        (float("nan"), 1.0, "min", False),
    ],
)
def test_better_is_strictly_better_and_nan_never_is(
    value: float, best: float | None, better: Any, expected: bool
) -> None:
    assert is_better(value, best, better) is expected


def test_prepared_cases_are_cached(bench: Workbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESSERA_CACHE", str(tmp_path / "cache"))
    cached = bench.fit("cached", synthetic_config(data={"cache": True}))
    plain = bench.fit("plain", synthetic_config())
    assert equal(weights_of(cached), weights_of(plain))
    kept = list((tmp_path / "cache").rglob("*.npy"))
    roles = bench.split().roles.values()
    assert len(kept) == sum(role in ("train", "val") for role in roles)

    def fails(*_: Any) -> Case:
        raise AssertionError("a cached case was opened again")

    monkeypatch.setattr("tessera.core.testing.synthetic.SyntheticReader.open", fails)
    again = bench.fit("again", synthetic_config(data={"cache": True}))
    assert equal(weights_of(cached), weights_of(again))


def test_ctrl_c_comes_out_as_keyboard_interrupt(bench: Workbench, configure: Configure) -> None:
    import signal

    class Press(Callback):
        def on_train_batch_end(self, trainer: Any, *rest: Any) -> None:
            if trainer.global_step == 2:
                raise KeyboardInterrupt

    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        bench.fit("run", configure(), callbacks=[Press()])
    assert signal.getsignal(signal.SIGINT) is handler
    assert bench.fit("run", configure(), resume=True).epochs == 3


def test_a_run_can_start_from_the_weights_of_a_bundle(
    bench: Workbench, configure: Configure, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    network = SYNTHETIC.resolve("network")(configure(), n_outputs=5)  # another number of classes
    weights = {name: torch.full_like(value, 1) for name, value in network.state_dict().items()}
    folder = bench.folder / "bundle"
    folder.mkdir()
    (folder / "SHA256SUMS").write_text("first")
    bundle = SimpleNamespace(weights=lambda: weights)
    monkeypatch.setattr("tessera.core.bundle.bundle.Bundle.load", lambda path: bundle)
    config = configure(optim={"lr": 1e-9}, trainer={"ema_decay": 0.0, "max_steps": 1})
    with caplog.at_level(logging.INFO, "tessera"):
        trained = weights_of(bench.fit("run", config, from_bundle=folder))
    assert torch.allclose(trained["body.0.weight"], torch.ones(()), atol=1e-6)
    assert not torch.allclose(trained["body.8.weight"], torch.ones(()), atol=1e-1)
    assert "new: body.8.bias, body.8.weight" in caplog.text
    (folder / "SHA256SUMS").write_text("second")
    with pytest.raises(ConfigError, match="another bundle"):
        bench.fit("run", config, from_bundle=folder, resume=True)
    with pytest.raises(BundleError, match="not a bundle"):
        bench.fit("other", config, from_bundle=bench.folder)


def test_a_full_disk_is_named_and_leaves_the_checkpoint_before(
    bench: Workbench, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves, save = [], torch.save

    def full(content: Any, path: Path) -> None:
        saves.append(path)
        if len(saves) == 3:
            path.write_bytes(b"half")
            raise RuntimeError("PytorchStreamWriter failed writing file")
        save(content, path)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(TesseraError, match="free some disk space"):
        bench.fit("run", configure())
    assert [path.name for path in (bench.folder / "run/checkpoints").iterdir()] == ["last.ckpt"]
    monkeypatch.undo()
    assert bench.fit("run", configure(), resume=True).epochs == 3


def test_progress_is_told_of_every_step(bench: Workbench, configure: Configure) -> None:
    seen: list[tuple[int, int, str]] = []
    bench.fit("run", configure(), progress=lambda done, total, what: seen.append((done, total, what)))
    assert [done for done, _, _ in seen] == list(range(1, 10))
    assert seen[-1] == (9, 9, "epoch 3")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accelerator": "gpu"}, "no GPU"),
        ({"precision": "bfloat16", "accelerator": "cpu"}, "needs a GPU"),
    ],
)
def test_what_this_machine_cannot_do_is_refused_at_once(
    bench: Workbench, configure: Configure, options: dict[str, Any], message: str
) -> None:
    if options.get("accelerator") == "gpu" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(ConfigError, match=message):
        bench.fit("run", configure(trainer=options))
    assert not (bench.folder / "run").exists()
