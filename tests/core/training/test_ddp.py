from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

SCRIPT = """
import json, sys
from pathlib import Path
import torch
from lightning.pytorch import Callback
from tessera.core.data.splits import make_split
from tessera.core.testing.synthetic import SYNTHETIC, synthetic_config, synthetic_manifest
from tessera.core.training.fit import fit

class Killed(Exception):
    pass

class Record(Callback):
    def __init__(self, folder, stop_at):
        self.folder, self.stop_at, self.seen = folder, stop_at, []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        for name, weight in zip(batch["case_id"], batch["weight"].tolist()):
            if weight:
                self.seen.append([trainer.current_epoch, name])
        if trainer.global_step == self.stop_at:
            raise SystemExit(3)

    def on_train_end(self, trainer, task):
        rank = trainer.global_rank
        torch.save([p.detach() for p in task.network.parameters()], self.folder / f"weights{rank}.pt")
        record = {"seen": self.seen, "values": task.values}
        (self.folder / f"seen{rank}.json").write_text(json.dumps(record))

def main():
    torch.set_num_threads(1)
    folder, name, stop_at = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    manifest = synthetic_manifest(19)
    split = make_split(manifest.cases, fold="1", val_fraction=0.2, seed=0, target="label")
    trainer = {"max_epochs": 2, "batch_size": 3, "devices": 2, "strategy": "ddp", "accelerator": "cpu"}
    trainer |= {"ema_decay": 0.9, "checkpoint_every_steps": 1}
    config = synthetic_config(trainer=trainer)
    record = Record(folder, stop_at)
    out = folder / name
    fit(config, SYNTHETIC, manifest, out=out, split=split, resume=stop_at < 0, callbacks=[record])

if __name__ == "__main__":
    main()
"""


def train(folder: Path, name: str, stop_at: int) -> int:
    script = folder / "train.py"
    script.write_text(SCRIPT)
    clean = {k: v for k, v in os.environ.items() if k not in ("LOCAL_RANK", "WORLD_SIZE", "NODE_RANK")}
    command = [
        sys.executable,
        "-W",
        "error::UserWarning:tessera",
        str(script),
        str(folder),
        name,
        str(stop_at),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=clean, check=False)
    if stop_at < 0 or stop_at > 100:
        assert done.returncode == 0, done.stderr[-3000:]
    return done.returncode


def records(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"seen{rank}.json").read_text()) for rank in (0, 1)]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_processes_share_the_cases_and_end_with_equal_weights_also_after_a_kill(tmp_path: Path) -> None:
    train(tmp_path, "whole", 1000)
    first, second = records(tmp_path)
    seen = Counter(map(tuple, first["seen"] + second["seen"]))
    assert set(seen.values()) == {1}
    assert {epoch for epoch, _ in seen} == {0, 1}
    n_train = (tmp_path / "whole" / "splits.csv").read_text().count(",train,")
    assert len(seen) == 2 * n_train
    assert first["values"] == second["values"]
    ranks = [torch.load(tmp_path / f"weights{rank}.pt", weights_only=True) for rank in (0, 1)]
    assert all(torch.equal(a, b) for a, b in zip(*ranks, strict=True))

    assert train(tmp_path, "killed", 4) != 0
    train(tmp_path, "killed", -1)
    resumed = torch.load(tmp_path / "weights0.pt", weights_only=True)
    assert all(torch.equal(a, b) for a, b in zip(ranks[0], resumed, strict=True))
    rows = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "killed")]
    without_seconds = [[[*row.split(",")[:2], *row.split(",")[3:]] for row in table] for table in rows]
    assert without_seconds[0] == without_seconds[1]
