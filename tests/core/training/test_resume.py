from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback

from tessera.core.errors import ConfigError, DataError
from tessera.core.testing.synthetic import SyntheticConfig, synthetic_manifest
from tessera.core.training.history import read_metrics
from tessera.core.training.run_folder import Run

from .conftest import Workbench

Configure = Callable[..., SyntheticConfig]
STEPS_PER_EPOCH = 3  # 9 training cases, 4 a batch


class KilledError(Exception):
    """Stands for a kill inside the process."""


@dataclass
class Kill(Callback):
    """Raises the n-th time a hook is called; comes before the checkpoints, whose last one is older."""

    hook: str
    n: int

    def __post_init__(self) -> None:
        self.calls = 0
        setattr(self, self.hook, self._count)

    def _count(self, *args: Any, **kwargs: Any) -> None:
        self.calls += 1
        if self.calls == self.n:
            raise KilledError


def result(run: Run) -> dict[str, Any]:
    """Everything a run ends with, except times."""
    last = torch.load(run.last, weights_only=True)
    last["callbacks"]["History"].pop("seconds")
    rows = [
        {name: value for name, value in row.items() if name != "seconds"}
        for row in read_metrics(run.folder / "metrics.csv")
    ]
    best = None if run.best is None else torch.load(run.best, weights_only=True)
    kept = ("state_dict", "optimizer_states", "lr_schedulers", "callbacks", "global_step")
    return {"rows": rows, "best": best, "steps": run.steps, "epochs": run.epochs} | {
        name: last[name] for name in kept
    }


def assert_same(a: Any, b: Any, place: str = "run") -> None:
    assert type(a) is type(b), place
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b), place
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), place
        for key in a:
            assert_same(a[key], b[key], f"{place}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), place
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{place}[{i}]")
    else:
        assert a == b, place


def killed_and_resumed(bench: Workbench, name: str, config: SyntheticConfig, *kills: Kill) -> Run:
    for number, kill in enumerate(kills):
        with pytest.raises(KilledError):
            bench.fit(name, config, callbacks=[kill], resume=number > 0)
    return bench.fit(name, config, resume=True)


@pytest.mark.parametrize("every", [1, 2, 1000])
@pytest.mark.parametrize("hook", ["on_train_batch_start", "on_train_batch_end", "on_before_optimizer_step"])
def test_a_kill_at_any_step_changes_nothing(
    bench: Workbench, configure: Configure, hook: str, every: int
) -> None:
    config = configure(trainer={"checkpoint_every_steps": every})
    whole = result(bench.fit("whole", config))
    for n in range(1, 3 * STEPS_PER_EPOCH + 1):
        assert_same(
            whole, result(killed_and_resumed(bench, f"{hook}{n}", config, Kill(hook, n))), f"step {n}"
        )


@pytest.mark.parametrize(
    "hook",
    [
        "on_validation_start",
        "on_validation_batch_start",
        "on_validation_batch_end",
        "on_validation_epoch_end",
        "on_validation_end",
        "on_train_epoch_start",
        "on_train_epoch_end",
        "on_train_end",
    ],
)
@pytest.mark.parametrize("every", [1, 1000])
def test_a_kill_around_validation_changes_nothing(
    bench: Workbench, configure: Configure, hook: str, every: int
) -> None:
    config = configure(trainer={"checkpoint_every_steps": every})
    whole = result(bench.fit("whole", config))
    for n in range(1, 2 if hook == "on_train_end" else 4):
        assert_same(
            whole, result(killed_and_resumed(bench, f"{hook}{n}", config, Kill(hook, n))), f"{hook} {n}"
        )


@pytest.mark.parametrize("every", [1, 1000])
def test_a_kill_while_saving_changes_nothing(bench: Workbench, configure: Configure, every: int) -> None:
    config = configure(trainer={"checkpoint_every_steps": every})
    whole = result(bench.fit("whole", config))
    for n in range(1, 4):  # after an epoch the best checkpoint is written before the last
        name = f"saving{n}"
        assert_same(whole, result(killed_and_resumed(bench, name, config, Kill("on_save_checkpoint", n))))


@pytest.mark.parametrize(("killed_at", "left"), [(2, 8), (3, 7), (4, 6), (5, 5), (9, 1)])
def test_only_what_came_after_the_checkpoint_is_repeated(
    bench: Workbench, configure: Configure, killed_at: int, left: int
) -> None:
    # saved after steps 1, 2, 3 (end of the epoch), 4, ...; the kill comes before the save of its step
    with pytest.raises(KilledError):
        bench.fit("run", configure(), callbacks=[Kill("on_train_batch_end", killed_at)])
    counter = Kill("on_train_batch_start", 1000)
    bench.fit("run", configure(), resume=True, callbacks=[counter])
    assert counter.calls == left


def test_repeated_kills_of_one_run_change_nothing(bench: Workbench, configure: Configure) -> None:
    config = configure()
    whole = result(bench.fit("whole", config))
    kills = [
        Kill("on_train_batch_end", 2),
        Kill("on_validation_batch_end", 1),
        Kill("on_train_batch_start", 2),
    ]
    assert_same(whole, result(killed_and_resumed(bench, "thrice", config, *kills)))


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6])
def test_a_kill_between_accumulated_batches_changes_nothing(
    bench: Workbench, configure: Configure, n: int
) -> None:
    config = configure(trainer={"accumulate": 2, "max_epochs": 2})
    whole = bench.fit("whole", config)
    assert whole.steps == 4  # three batches an epoch make two steps
    kill = Kill("on_train_batch_end", n)
    assert_same(result(whole), result(killed_and_resumed(bench, "killed", config, kill)))


@pytest.mark.parametrize("n", [2, 4, 5])
def test_a_run_that_ends_inside_an_epoch_is_validated_and_resumes(
    bench: Workbench, configure: Configure, n: int
) -> None:
    config = configure(trainer={"max_steps": 5})
    whole = bench.fit("whole", config)
    assert (whole.steps, whole.epochs) == (5, 2)
    rows = read_metrics(whole.folder / "metrics.csv")
    assert [row["step"] for row in rows] == [3, 5]
    assert rows[-1]["val_loss"] is not None
    kill = Kill("on_train_batch_end", n)
    assert_same(result(whole), result(killed_and_resumed(bench, "killed", config, kill)))


@pytest.mark.parametrize("hook", ["on_validation_end", "on_train_batch_end", "on_train_end"])
def test_early_stopping_survives_a_kill(bench: Workbench, configure: Configure, hook: str) -> None:
    config = configure(
        trainer={"patience": 2, "max_epochs": 30, "monitor": "val_accuracy"}, optim={"lr": 1e-6}
    )
    whole = bench.fit("whole", config)
    assert whole.stopped_early and whole.epochs < 30
    calls = {"on_validation_end": whole.epochs, "on_train_batch_end": whole.steps, "on_train_end": 1}
    resumed = killed_and_resumed(bench, "killed", config, Kill(hook, calls[hook]))
    assert resumed.stopped_early
    assert_same(result(whole), result(resumed))


def test_a_finished_run_is_returned_without_training(bench: Workbench, configure: Configure) -> None:
    config = configure()
    whole = bench.fit("run", config)
    saved = whole.last.stat().st_mtime_ns
    again = bench.fit("run", config, resume=True, callbacks=[Kill("on_train_start", 1)])
    assert (again.steps, again.best, again.last) == (whole.steps, whole.best, whole.last)
    assert whole.last.stat().st_mtime_ns == saved


def test_a_half_written_row_is_cut_off(bench: Workbench, configure: Configure) -> None:
    config = configure()
    whole = result(bench.fit("whole", config))
    with pytest.raises(KilledError):
        bench.fit("torn", config, callbacks=[Kill("on_train_batch_end", 5)])
    with (bench.folder / "torn" / "metrics.csv").open("a") as file:
        file.write("9,3,0.1,0.00")
    assert_same(whole, result(bench.fit("torn", config, resume=True)))


def test_a_used_folder_is_refused(bench: Workbench, configure: Configure) -> None:
    bench.fit("run", configure())
    with pytest.raises(ConfigError, match="already holds a run"):
        bench.fit("run", configure())


def test_going_on_with_another_config_names_the_field(bench: Workbench, configure: Configure) -> None:
    bench.fit("run", configure())
    with pytest.raises(ConfigError, match=r"optim\.lr=0\.5"):
        bench.fit("run", configure(optim={"lr": 0.5}), resume=True)


def test_going_on_with_other_data_or_another_split_is_refused(bench: Workbench, configure: Configure) -> None:
    bench.fit("run", configure())
    with pytest.raises(DataError, match="other data"):
        bench.fit("run", configure(), manifest=synthetic_manifest(16, seed=1), resume=True)
    with pytest.raises(DataError, match="fold '2'"):
        bench.fit("run", configure(), split=bench.split("2"), resume=True)


def test_the_number_of_workers_may_change_when_going_on(bench: Workbench, configure: Configure) -> None:
    first = bench.fit("run", configure())
    again = bench.fit("run", configure(trainer={"workers": 1}), resume=True)
    assert (again.folder, again.last, again.steps) == (first.folder, first.last, first.steps)


@pytest.mark.slow
@pytest.mark.parametrize("n", [2, 3, 4])
def test_two_workers_and_a_kill_change_nothing(bench: Workbench, configure: Configure, n: int) -> None:
    whole = result(bench.fit("whole", configure(trainer={"max_epochs": 2})))
    two = configure(trainer={"max_epochs": 2, "workers": 2})
    assert_same(whole, result(bench.fit("two", two)))
    kill = Kill("on_train_batch_end", n)
    assert_same(whole, result(killed_and_resumed(bench, "killed", two, kill)))


SCRIPT = """
import os, signal, sys, warnings
from pathlib import Path
import torch
from lightning.pytorch import Callback
from tessera.core.data.splits import make_split
from tessera.core.testing.synthetic import SYNTHETIC, synthetic_config, synthetic_manifest
from tessera.core.training.fit import fit

class Slow(Callback):
    def on_train_batch_end(self, trainer, *rest):
        print(trainer.global_step, flush=True)
        if trainer.global_step == int(sys.argv[2]):
            signal.pause()

def main():
    torch.set_num_threads(1)
    manifest = synthetic_manifest(16)
    split = make_split(manifest.cases, fold="1", val_fraction=0.25, seed=0, target="label")
    trainer = {"max_epochs": 3, "ema_decay": 0.9, "checkpoint_every_steps": 1, "workers": 1}
    config = synthetic_config(trainer=trainer)
    fit(config, SYNTHETIC, manifest, out=Path(sys.argv[1]), split=split, resume=True, callbacks=[Slow()])

if __name__ == "__main__":
    main()
"""


@pytest.mark.slow
def test_a_real_kill_changes_nothing(bench: Workbench, tmp_path: Path) -> None:
    from tessera.core.testing.synthetic import synthetic_config

    config = synthetic_config(
        trainer={"max_epochs": 3, "ema_decay": 0.9, "checkpoint_every_steps": 1, "workers": 1}
    )
    script = tmp_path / "train.py"
    script.write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, str(script), str(bench.folder / "killed"), "5"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    started = time.monotonic()
    for line in process.stdout:
        if line.strip() == "5" or time.monotonic() - started > 120:
            break
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()
    saved = torch.load(bench.folder / "killed" / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["global_step"] == 4
    whole = result(bench.fit("whole", config))
    assert_same(whole, result(bench.fit("killed", config, resume=True)))
