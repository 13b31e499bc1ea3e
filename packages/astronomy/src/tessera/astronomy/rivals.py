"""Classical rivals of the networks: a cut, boosted trees and a forest on measured shapes.

The first two are those of M. Walmsley et al., MNRAS 483 (2019) 2968: asymmetry A and mask asymmetry A_mask
alone, in a quadratic relation whose threshold is swept, and in AdaBoost's regression trees. Their relation is
not published, so ours is fitted. The forest, on all measures, colours and histograms, is an extension. Rivals
are fitted anew by each study and never stored.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tessera.astronomy.measures import tidal_measures
from tessera.astronomy.shape_features import FeatureTable, features_of_manifest
from tessera.core.config import Config
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case, Reader
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import make_split
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError
from tessera.core.evaluation import ClassPredictions
from tessera.core.evaluation.measures import write_measures

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

ASYMMETRIES = ("asymmetry", "mask_asymmetry")


class ClassicalRival(Protocol):
    """What learns from features (N, F); NaN stands for what could not be measured."""

    def fit(self, values: Floats, positive: Bools) -> None:
        """Learn from features (N, F) and truth (N,)."""
        ...

    def probability(self, values: Floats) -> Floats:
        """Probability (N,) of the positive class."""
        ...

    @property
    def n_parameters(self) -> int:
        """Numbers learnt."""
        ...


class AsymmetryCutConfig(Config):
    """The cut: a polynomial of second degree in A and A_mask that exceeds a threshold."""

    kind: Literal["asymmetry-cut"] = "asymmetry-cut"

    def columns(self, table: FeatureTable) -> tuple[str, ...]:
        """The features it looks at."""
        del table
        return ASYMMETRIES

    def build(self, seed: int) -> ClassicalRival:
        """The rival, untrained."""
        del seed
        return AsymmetryCut()


class AsymmetryBoostConfig(Config):
    """AdaBoost's regression of the label on (A, A_mask)."""

    kind: Literal["asymmetry-boost"] = "asymmetry-boost"
    trees: int = Field(50, ge=1, le=10_000, description="at most")
    depth: int = Field(3, ge=1, le=30, description="of each tree")
    rate: float = Field(1.0, gt=0.0, le=10.0, description="weight of each tree")

    def columns(self, table: FeatureTable) -> tuple[str, ...]:
        """The features it looks at."""
        del table
        return ASYMMETRIES

    def build(self, seed: int) -> ClassicalRival:
        """The rival, untrained."""
        from sklearn.ensemble import AdaBoostRegressor
        from sklearn.tree import DecisionTreeRegressor

        tree = DecisionTreeRegressor(max_depth=self.depth)
        model = AdaBoostRegressor(tree, n_estimators=self.trees, learning_rate=self.rate, random_state=seed)
        return Trees(model, lambda values: np.clip(model.predict(values), 0, 1))


class ForestConfig(Config):
    """A random forest on every feature."""

    kind: Literal["forest"] = "forest"
    trees: int = Field(500, ge=1, le=10_000)
    least_leaf: int = Field(2, ge=1, le=1000, description="galaxies in a leaf at least")

    def columns(self, table: FeatureTable) -> tuple[str, ...]:
        """The features it looks at."""
        return table.names

    def build(self, seed: int) -> ClassicalRival:
        """The rival, untrained."""
        from sklearn.ensemble import RandomForestClassifier

        model = RandomForestClassifier(
            n_estimators=self.trees,
            min_samples_leaf=self.least_leaf,
            class_weight="balanced_subsample",
            random_state=seed,
        )
        return Trees(model, lambda values: model.predict_proba(values)[:, 1])


RivalConfig = Annotated[AsymmetryCutConfig | AsymmetryBoostConfig | ForestConfig, Field(discriminator="kind")]

RIVALS: Mapping[str, RivalConfig] = MappingProxyType(
    {config.kind: config for config in (AsymmetryCutConfig(), AsymmetryBoostConfig(), ForestConfig())}
)


class AsymmetryCut:
    """Logistic regression on 1, A, A_mask, A^2, A A_mask and A_mask^2.

    A galaxy whose asymmetries could not be measured takes the medians of those it is fitted on.
    """

    def __init__(self) -> None:
        self._median = np.zeros(2)
        self._spread = np.ones(2)
        self._logistic: Any = None

    def fit(self, values: Floats, positive: Bools) -> None:
        """Learn from (N, 2): A and A_mask."""
        from sklearn.linear_model import LogisticRegression

        self._median = medians(values)
        spread = filled(values, self._median).std(axis=0)
        self._spread = np.where(spread > 0, spread, 1)
        self._logistic = LogisticRegression(max_iter=1000).fit(self._terms(values), positive)

    def probability(self, values: Floats) -> Floats:
        """Probability (N,) of tidal features; each threshold is a conic in the plane of A and A_mask."""
        return np.asarray(self._logistic.predict_proba(self._terms(values))[:, 1], dtype=np.float64)

    @property
    def n_parameters(self) -> int:
        """Of the polynomial."""
        return 6

    def _terms(self, values: Floats) -> Floats:
        a, b = ((filled(values, self._median) - self._median) / self._spread).T
        return np.stack([a, b, a * a, a * b, b * b], axis=1)


class Trees:
    """An ensemble of scikit-learn's trees; what is missing takes the medians of what it is fitted on.

    Args:
        model: The ensemble.
        score: Makes probabilities (N,) of features (N, F) with it.
    """

    def __init__(self, model: Any, score: Callable[[Floats], Floats]) -> None:
        self._model = model
        self._score = score
        self._median = np.zeros(0)

    def fit(self, values: Floats, positive: Bools) -> None:
        """Learn from (N, F)."""
        self._median = medians(values)
        self._model.fit(filled(values, self._median), positive.astype(np.int64))

    def probability(self, values: Floats) -> Floats:
        """Probability (N,) of the positive class."""
        return np.asarray(self._score(filled(values, self._median)), dtype=np.float64)

    @property
    def n_parameters(self) -> int:
        """Nodes of all trees."""
        return int(sum(tree.tree_.node_count for tree in self._model.estimators_))


def medians(values: Floats) -> Floats:
    """Median (F,) of each feature where it is known, 0 where it never is."""
    found = [np.median(column[~np.isnan(column)]) if (~np.isnan(column)).any() else 0 for column in values.T]
    return np.array(found, dtype=np.float64)


def filled(values: Floats, replacement: Floats) -> Floats:
    """The features (N, F) with (F,) in place of NaN."""
    return np.where(np.isnan(values), replacement, values)


@dataclass(frozen=True)
class RivalRun:
    """One fold of a rival.

    Args:
        predictions: Of the tested cases that could be read.
        failures: Why the others could not, by name.
        seconds: Time for fitting and predicting; measuring the features comes before.
        parameters: Numbers learnt.
    """

    predictions: ClassPredictions
    failures: Mapping[str, str]
    seconds: float
    parameters: int


def predict_fold(
    rival: RivalConfig,
    table: FeatureTable,
    manifest: Manifest,
    *,
    target: str,
    fold: str,
    n_folds: int = 5,
    seed: int = 0,
) -> RivalRun:
    """Fit on all folds but one and predict that one; the folds are those that a network would have."""
    spec = two_classes(manifest.target(target))
    cases = manifest.training_cases(target)
    split = make_split(cases, fold=fold, n_folds=n_folds, val_fraction=0.0, seed=seed, target=target)
    train, test = (_readable(split.cases(cases, role), table) for role in ("train", "test"))
    if not test:
        raise DataError(f"no case of fold {fold} could be measured", found=f"{len(table.failures)} failures")
    columns = rival.columns(table)
    start = time.perf_counter()
    model = rival.build(seed)
    model.fit(table.take([case.id for case in train], columns), _positive(train, target, spec))
    share = model.probability(table.take([case.id for case in test], columns))
    seconds = time.perf_counter() - start
    predictions = ClassPredictions(
        [case.id for case in test],
        [case.group for case in test],
        _positive(test, target, spec).astype(np.int64),
        np.stack([1 - share, share], axis=1),
        spec.classes,
        fold=[split.fold] * len(test),
    )
    tested = {case.id for case in split.cases(cases, "test")}
    failures = {name: cause for name, cause in table.failures.items() if name in tested}
    return RivalRun(predictions, failures, seconds, model.n_parameters)


def run_rival(
    name: str,
    manifest: Manifest,
    reader: Reader,
    *,
    out: Path,
    target: str = "label",
    fold: str,
    n_folds: int = 5,
    seed: int = 0,
    cache: Path | None = None,
) -> RivalRun:
    """One fold of a rival as a study's finished run in ``out``: predictions, evaluation, measures, summary.

    Args:
        name: Of the rival.
        manifest: The data.
        reader: Opens their cases.
        out: The run's folder.
        target: Name of the target, of two classes.
        fold: The fold to test.
        n_folds: Folds to make where the data have none.
        seed: Of such folds, and of the trees.
        cache: Folder that keeps the features for the other folds and rivals.
    """
    from tessera.core.training.scoring import write_evaluation
    from tessera.core.training.train import SUMMARY_FILE

    if name not in RIVALS:
        raise ConfigError(f"there is no classical rival '{name}'", expected=f"one of {', '.join(RIVALS)}")
    table = features_of_manifest(manifest, reader, target=target, cache=cache)
    run = predict_fold(RIVALS[name], table, manifest, target=target, fold=fold, n_folds=n_folds, seed=seed)
    write_evaluation(run.predictions, run.failures, out)
    by_id = {case.id: case for case in manifest.cases}
    tested = [by_id[name] for name in run.predictions.case_id]
    write_measures(out, tidal_measures(run.predictions, tested, values={}))
    summary = {"seconds": run.seconds, "parameters": run.parameters}
    write_atomic(out / SUMMARY_FILE, json.dumps(summary, indent=2) + "\n")
    return run


def two_classes(spec: TargetSpec) -> TargetSpec:
    """The target, if it has two classes; the second is the one to find."""
    if spec.kind != "class" or len(spec.classes) != 2:
        raise ConfigError(
            "the classical rivals tell two classes apart",
            found=f"kind {spec.kind}, classes {', '.join(spec.classes) or 'none'}",
            expected="two, such as none and tidal",
        )
    return spec


def _readable(cases: tuple[Case, ...], table: FeatureTable) -> list[Case]:
    known = set(table.case_id)
    return [case for case in cases if case.id in known]


def _positive(cases: list[Case], target: str, spec: TargetSpec) -> Bools:
    return np.array([case.targets[target] == spec.classes[1] for case in cases])
