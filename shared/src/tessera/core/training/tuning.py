"""A choice among candidates inside a fold's training part; the fold's own cases are not looked at."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from tessera.core.data.atomic import write_atomic
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import fold_names
from tessera.core.errors import ConfigError
from tessera.core.evaluation import metrics_of, pool
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import RunConfig
from tessera.core.training.callbacks import Progress
from tessera.core.training.run_folder import fold_folder
from tessera.core.training.scoring import load_predictions
from tessera.core.training.train import SUMMARY_FILE, Plan, train_one, training_cases

logger = logging.getLogger(__name__)

CHOICE_FILE = "tuning.json"
LOWER_IS_BETTER = frozenset({"log_loss", "brier", "ece", "mae", "rmse", "gaussian_nll"})


@dataclass(frozen=True)
class Choice:
    """What was chosen for one fold, and why.

    Args:
        fold: The fold whose training part was used.
        folds: Inner folds every candidate was tested on.
        n: Cases in them.
        metric: What was compared.
        values: Each candidate's value, pooled over the inner folds.
        chosen: Number of the candidate taken; of equals the first.
        seconds: Training time of all candidates.
    """

    fold: str
    folds: tuple[str, ...]
    n: int
    metric: str
    values: tuple[float, ...]
    chosen: int
    seconds: float

    @classmethod
    def read(cls, folder: Path) -> Choice:
        """Read ``tuning.json``."""
        facts = json.loads((folder / CHOICE_FILE).read_text(encoding="utf-8"))
        return cls(**{**facts, "folds": tuple(facts["folds"]), "values": tuple(facts["values"])})


def choose(
    candidates: Sequence[RunConfig],
    pipeline: Pipeline,
    *,
    data: str,
    fold: str,
    metric: str,
    out: Path,
    n_folds: int = 5,
    most_folds: int | None = None,
    say: Callable[[str], None] = logger.info,
    progress: Progress | None = None,
) -> Choice:
    """Train every candidate on a fold's training part with its own folds left out, and take the best.

    Resumable: runs lie in ``out/<candidate>/fold-<inner>``, the choice in ``out/tuning.json``.

    Args:
        candidates: Complete configs.
        pipeline: Their pipeline.
        data: Manifest id or path.
        fold: The outer fold; its cases are left out of everything.
        metric: A metric of the task.
        out: Folder of the candidates' runs.
        n_folds: Folds to make where the data has none.
        most_folds: Only so many of the inner folds; None: all.
        say: Told what begins.
        progress: Of each run.
    """
    if (out / CHOICE_FILE).is_file():
        return Choice.read(out)
    manifest = Manifest.load(data)
    seen = training_cases(Plan(config=candidates[0], data=data, n_folds=n_folds, without=fold), manifest)
    inner = fold_names(seen, n_folds)[:most_folds]
    spec = manifest.target(candidates[0].data.target)
    values, seconds, n = [], 0.0, 0
    for number, config in enumerate(candidates):
        parts = []
        for name in inner:
            folder = out / str(number) / fold_folder(name)
            if not (folder / SUMMARY_FILE).is_file():
                say(f"candidate {number} without fold {fold}, tested on fold {name}")
                plan = Plan(config=config, data=data, fold=name, n_folds=n_folds, without=fold)
                started = (folder / "config.yaml").is_file()
                train_one(plan, pipeline, out=folder, resume=started, progress=progress)
            parts.append(load_predictions(folder, spec))
            seconds += json.loads((folder / SUMMARY_FILE).read_text(encoding="utf-8"))["seconds"]
        predictions = pool(parts)
        known = metrics_of(predictions)
        if metric not in known:
            raise ConfigError(f"no metric '{metric}'", expected=", ".join(known))
        n = len(predictions)
        values.append(known[metric](predictions).value)
    choice = Choice(fold, tuple(inner), n, metric, tuple(values), best(values, metric), seconds)
    write_atomic(out / CHOICE_FILE, json.dumps(asdict(choice), indent=2) + "\n")
    return choice


def best(values: Sequence[float], metric: str) -> int:
    """The place of the best value, the first among equals; what is not defined loses."""
    sign = -1.0 if metric in LOWER_IS_BETTER else 1.0
    scores = [-math.inf if math.isnan(value) else sign * value for value in values]
    return scores.index(max(scores))
