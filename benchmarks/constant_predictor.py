"""A study of a number beside the constant predictor, which always says the mean of its training cases.

The runs' own splits say which cases those are; `--leave-out` takes away folds that only add to the training.
Run: python benchmarks/constant_predictor.py runs/room-t30/encoder --data room-mixtures [--leave-out FOLD]
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
from machine import Record, show

from tessera.core.config import load_yaml
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.evaluation import METRICS, bootstrap_interval, format_estimate, paired_difference, pool
from tessera.core.evaluation.predictions import ValuePredictions
from tessera.core.training.scoring import load_predictions

SEED = 0


def of_run(run: Path, manifest: Manifest, leave_out: set[str]) -> tuple[ValuePredictions, ValuePredictions]:
    """A run's predictions of its test cases, and the constant predictor's."""
    target = load_yaml(run / "config.yaml")["data"]["target"]
    split = Split.read(run / "splits.csv")
    train = [case for case in split.cases(manifest.cases, "train") if case.split not in leave_out]
    mean = float(np.mean([float(str(case.targets[target])) for case in train]))
    found = load_predictions(run, manifest.target(target))
    assert isinstance(found, ValuePredictions)
    return found, replace(found, mean=np.full(len(found), mean), std=None)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("arm", type=Path, help="folder of an arm, one run a fold")
    parser.add_argument("--data", required=True)
    parser.add_argument("--leave-out", action="append", default=[])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    manifest, mae = Manifest.load(options.data), METRICS["regression"]["mae"]
    runs = sorted(path.parent for path in options.arm.glob("*/predictions.csv"))
    both = [of_run(run, manifest, set(options.leave_out)) for run in runs]
    records: list[Record] = [
        {"run": run.name, "n": len(a), "mae": mae(a).value, "mae of the constant": mae(b).value}
        for run, (a, b) in zip(runs, both, strict=True)
    ]
    model, constant = (pool([pair[i] for pair in both]) for i in (0, 1))
    difference = paired_difference(mae, model, constant, seed=SEED)
    records.append(
        {
            "run": "all",
            "n": len(model),
            "groups": model.n_groups,
            "mae": format_estimate(bootstrap_interval(mae, model, seed=SEED)),
            "mae of the constant": format_estimate(bootstrap_interval(mae, constant, seed=SEED)),
            "difference": f"{difference.difference:.3f} [{difference.low:.3f}, {difference.high:.3f}]",
            "ratio": mae(model).value / mae(constant).value,
        }
    )
    show(records, as_json=options.json)


if __name__ == "__main__":
    main()
