"""Arms of a study within one morphological type: AUROC of pairs of galaxies of the same type T.

An arm written a+b is the mean of two arms' probabilities. Differences are to the first arm.
Run: python benchmarks/within_type.py runs/efigi forest stamps stamps+forest --data efigi_galaxies
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from machine import Record, show

from tessera.astronomy.measures import TYPE, auroc_within
from tessera.core.data.manifest import Manifest
from tessera.core.evaluation import (
    METRICS,
    ClassPredictions,
    bootstrap_interval,
    format_estimate,
    paired_difference,
    pool,
    take,
)
from tessera.core.training.scoring import load_predictions
from tessera.core.training.stacking import pooled

SEED = 0


def of_arm(study: Path, arm: str, manifest: Manifest, target: str) -> ClassPredictions:
    """All folds of an arm, in the order of the cases' names."""
    members = []
    for name in arm.split("+"):
        runs = sorted(path.parent for path in (study / name).glob("fold-*/predictions.csv"))
        members.append(pool([load_predictions(run, manifest.target(target)) for run in runs]))
    found = pooled(members) if len(members) > 1 else members[0]
    assert isinstance(found, ClassPredictions)
    order = sorted(range(len(found)), key=lambda place: found.case_id[place])
    return replace(take(found, order), fold=())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study", type=Path, help="folder of a study's runs")
    parser.add_argument("arms", nargs="+")
    parser.add_argument("--data", required=True)
    parser.add_argument("--target", default="label")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    manifest = Manifest.load(options.data)
    type_of = {case.id: case.meta.get(TYPE, "") for case in manifest.cases}
    arms = {arm: of_arm(options.study, arm, manifest, options.target) for arm in options.arms}
    first = arms[options.arms[0]]
    within = auroc_within([type_of[name] for name in first.case_id])
    records: list[Record] = []
    for arm, found in arms.items():
        record: Record = {"arm": arm, "n": len(found)}
        for name, metric in (("AUROC", METRICS["multiclass"]["auroc_macro"]), ("within one type", within)):
            record[name] = format_estimate(bootstrap_interval(metric, found, seed=SEED))
            gap = paired_difference(metric, found, first, seed=SEED)
            record[f"{name}: difference"] = f"{gap.difference:+.3f} [{gap.low:+.3f}, {gap.high:+.3f}]"
        records.append(record)
    show(records, as_json=options.json)


if __name__ == "__main__":
    main()
