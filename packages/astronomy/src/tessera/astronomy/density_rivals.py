"""Rivals of the networks that read cosmological parameters from maps: ridge regression on summary statistics.

One-point statistics (a histogram, mean and spread of the logarithm of the density) know nothing of where the
matter is; the power spectrum of the same map knows its two-point statistics. Both are fitted anew by each
study and never stored.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tessera.astronomy.density_files import HIGHEST, LOWEST, NPZ_SUFFIX, ROLE
from tessera.core.config import Config
from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case, Reader
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import make_split
from tessera.core.data.targets import TargetSpec, encode_target
from tessera.core.errors import ConfigError, DataError, TesseraError
from tessera.core.evaluation import ManyValuePredictions, ValuePredictions

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

PENALTIES = tuple(10.0 ** np.arange(-3, 5))  # of the ridge, on standardised features
LEAST = 1e-6  # of a power, before its logarithm


class OnePointConfig(Config):
    """Histogram, mean and standard deviation of log10(rho / mean)."""

    kind: Literal["one-point"] = "one-point"
    bins: int = Field(14, ge=1, le=1000, description="of the histogram, even from the mean's half to 1000")

    def features(self, density: Floats) -> Floats:
        """(F,) of a map (H, W) of log10(rho / mean)."""
        return one_point(density, bins=self.bins)


class PowerSpectrumConfig(Config):
    """The one-point statistics and the logarithm of the map's power spectrum."""

    kind: Literal["power-spectrum"] = "power-spectrum"
    bins: int = Field(14, ge=1, le=1000, description="of the histogram")
    scales: int = Field(24, ge=1, le=1000, description="ranges of wave numbers at most, even on a log scale")

    def features(self, density: Floats) -> Floats:
        """(F,) of a map (H, W) of log10(rho / mean)."""
        power = np.log10(np.maximum(power_spectrum(density, scales=self.scales), LEAST))
        return np.concatenate([one_point(density, bins=self.bins), power])


DensityRivalConfig = Annotated[OnePointConfig | PowerSpectrumConfig, Field(discriminator="kind")]

RIVALS: Mapping[str, DensityRivalConfig] = MappingProxyType(
    {config.kind: config for config in (OnePointConfig(), PowerSpectrumConfig())}
)


@dataclass(frozen=True)
class DensityRivalRun:
    """One fold of a rival.

    Args:
        predictions: Of the tested maps that could be read.
        failures: Why the others could not, by name.
        seconds: Time for measuring, fitting and predicting.
        parameters: Numbers learnt.
    """

    predictions: ValuePredictions | ManyValuePredictions
    failures: Mapping[str, str]
    seconds: float
    parameters: int


def one_point(density: Floats, *, bins: int) -> Floats:
    """Shares of the pixels in even bins of log10(rho / mean), its mean and its standard deviation.

    What lies outside the bins counts in the first or the last one.
    """
    counts, _ = np.histogram(np.clip(density, LOWEST, HIGHEST), bins=bins, range=(LOWEST, HIGHEST))
    return np.array([*(counts / density.size), density.mean(), density.std()])


def power_spectrum(density: Floats, *, scales: int) -> Floats:
    """Mean power (K,) of a map (H, W) in ranges of the wave number, white noise of variance v having v.

    Wave numbers count waves along the shorter side; the ranges go from 1 to the shortest wave, between whole
    numbers, so that none is empty.
    """
    side = min(density.shape)
    power = np.abs(np.fft.fft2(density - density.mean())) ** 2 / density.size
    waves = side * np.hypot(*np.meshgrid(*map(np.fft.fftfreq, density.shape), indexing="ij"))
    edges = np.unique(np.round(np.geomspace(1, max(2, side // 2), scales + 1)))
    place = np.digitize(waves.ravel(), edges)
    total, modes = (np.bincount(place, weights, len(edges) + 1)[1:-1] for weights in (power.ravel(), None))
    return total / modes


class RidgeOnFeatures:
    """Ridge regression of P numbers on standardised features.

    Each number has the penalty with the smallest squared error of leave-one-out predictions; the root of
    that error is the standard deviation of each prediction.
    """

    def __init__(self) -> None:
        self._mean = np.zeros(0)
        self._spread = np.zeros(0)
        self._models: list[Any] = []
        self.std = np.zeros(0)

    def fit(self, features: Floats, target: Floats) -> None:
        """Learn from features (N, F) and numbers (N, P)."""
        from sklearn.linear_model import RidgeCV

        self._mean, spread = features.mean(axis=0), features.std(axis=0)
        self._spread = np.where(spread > 0, spread, 1)
        scaled = (features - self._mean) / self._spread
        self._models = [
            RidgeCV(PENALTIES, store_cv_results=True).fit(scaled, numbers) for numbers in target.T
        ]
        self.std = np.array([np.sqrt(model.cv_results_.mean(axis=0).min()) for model in self._models])

    def predict(self, features: Floats) -> Floats:
        """Numbers (N, P)."""
        scaled = (features - self._mean) / self._spread
        return np.stack([model.predict(scaled) for model in self._models], axis=1)


def predict_maps(
    rival: DensityRivalConfig,
    manifest: Manifest,
    reader: Reader,
    *,
    target: str,
    fold: str,
    n_folds: int = 5,
    seed: int = 0,
) -> DensityRivalRun:
    """Fit on all folds but one and predict that one; the folds are those that a network would have."""
    spec = manifest.target(target)
    if not spec.is_measured:
        raise ConfigError("these rivals predict numbers", found=f"{target} is of kind {spec.kind}")
    start = time.perf_counter()
    cases = manifest.training_cases(target)
    split = make_split(cases, fold=fold, n_folds=n_folds, val_fraction=0.0, seed=seed, target=target)
    features, failures = _measure(rival, cases, reader)
    train, test = (
        [case for case in split.cases(cases, role) if case.id in features] for role in ("train", "test")
    )
    if not test or len(train) < 3:
        raise DataError(
            f"fold {fold} cannot be tested",
            found=f"{len(train)} maps to learn from, {len(test)} to test, {len(failures)} failures",
        )
    model = RidgeOnFeatures()
    model.fit(_rows(features, train), _numbers(train, spec, target))
    mean = model.predict(_rows(features, test))
    tested = {case.id for case in split.cases(cases, "test")}
    return DensityRivalRun(
        _predictions(test, spec, _numbers(test, spec, target), mean, model.std, fold=split.fold),
        {name: cause for name, cause in failures.items() if name in tested},
        time.perf_counter() - start,
        (len(features[train[0].id]) + 1) * mean.shape[1],
    )


def run_density_rival(
    name: str,
    manifest: Manifest,
    reader: Reader,
    *,
    out: Path,
    target: str = "parameters",
    fold: str,
    n_folds: int = 5,
    seed: int = 0,
    cache: Path | None = None,
) -> DensityRivalRun:
    """One fold of a rival as a study's finished run: predictions, evaluation and ``summary.json`` in ``out``.

    Args:
        name: Of the rival.
        manifest: The data.
        reader: Opens their cases.
        out: The run's folder.
        target: Name of the target, a number or several.
        fold: The fold to test.
        n_folds: Folds to make where the data have none.
        seed: Of such folds.
        cache: Not needed: a map is measured in milliseconds.
    """
    from tessera.core.training.scoring import write_evaluation
    from tessera.core.training.train import SUMMARY_FILE

    del cache
    if name not in RIVALS:
        raise ConfigError(f"there is no rival '{name}'", expected=f"one of {', '.join(RIVALS)}")
    run = predict_maps(RIVALS[name], manifest, reader, target=target, fold=fold, n_folds=n_folds, seed=seed)
    write_evaluation(run.predictions, run.failures, out)
    summary = {"seconds": run.seconds, "parameters": run.parameters}
    write_atomic(out / SUMMARY_FILE, json.dumps(summary, indent=2) + "\n")
    return run


def _measure(
    rival: DensityRivalConfig, cases: Sequence[Case], reader: Reader
) -> tuple[dict[str, Floats], dict[str, str]]:
    """Features of the maps that can be read, and why the others cannot, by name."""
    found: dict[str, Floats] = {}
    failures: dict[str, str] = {}
    for case in cases:
        try:
            found[case.id] = rival.features(_log_density(case, reader))
        except TesseraError as error:
            failures[case.id] = error.one_line()
            logger.warning("case %s is left out: %s", case.id, failures[case.id])
    if len(sizes := {len(row) for row in found.values()}) > 1:
        raise DataError("the maps differ in size", found=f"{sorted(sizes)} statistics", expected="one size")
    return found, failures


def _log_density(case: Case, reader: Reader) -> Floats:
    """log10(rho / mean) (H, W): rows of an NPZ file hold it, FITS files hold the density over its mean."""
    source = reader.open(case)
    try:
        values: Floats = source.read()["input"][0].numpy().astype(np.float64)
    finally:
        source.close()
    if not np.isfinite(values).all():
        raise DataError(f"case {case.id}: pixels without a value", found=int((~np.isfinite(values)).sum()))
    if case.path(ROLE).name.lower().endswith(NPZ_SUFFIX):
        return values
    return np.log10(np.maximum(values, 10.0**LOWEST))


def _rows(features: Mapping[str, Floats], cases: Sequence[Case]) -> Floats:
    return np.stack([features[case.id] for case in cases])


def _numbers(cases: Sequence[Case], spec: TargetSpec, target: str) -> Floats:
    """(N, P)."""
    encoded = [encode_target(spec, case.targets[target], case_id=case.id) for case in cases]
    return np.stack(encoded).astype(np.float64).reshape(len(cases), -1)


def _predictions(
    cases: Sequence[Case], spec: TargetSpec, target: Floats, mean: Floats, std: Floats, *, fold: str
) -> ValuePredictions | ManyValuePredictions:
    names, groups, folds = [c.id for c in cases], [c.group for c in cases], [fold] * len(cases)
    spread = np.broadcast_to(std, mean.shape)
    if spec.kind == "number":
        return ValuePredictions(names, groups, target[:, 0], mean[:, 0], spread[:, 0], fold=folds)
    return ManyValuePredictions(names, groups, target, mean, spec.classes, std=spread, fold=folds)
