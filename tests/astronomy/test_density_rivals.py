"""Ridge on statistics of maps: against closed forms, leave-one-out by hand, and as runs of a study."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from astropy.io import fits

from tessera.astronomy.density_files import LOWEST, DensityReader, log_density
from tessera.astronomy.density_rivals import (
    RIVALS,
    OnePointConfig,
    RidgeOnFeatures,
    one_point,
    power_spectrum,
    predict_maps,
    run_density_rival,
)
from tessera.core.data.case import Case, FileRef, Target
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError
from tessera.core.evaluation import ManyValuePredictions, ValuePredictions, read_predictions
from tessera.core.training.scoring import load_evaluation
from tessera.core.training.train import SUMMARY_FILE

BOTH = TargetSpec(kind="numbers", classes=("omega_m", "sigma_8"))
SIDE = 32

Files = dict[str, FileRef | tuple[FileRef, ...]]


def case_of(row: int, files: Files, known: dict[str, Target], **more: Any) -> Case:
    name = f"m{row:02d}"
    return Case(id=name, files=files, targets=known, group=name, split=str(row % 4 + 1), **more)


def manifest_of(folder: Path, maps: npt.NDArray[np.uint8], target: npt.NDArray[np.float64]) -> Manifest:
    """Rows of one NPZ file, each in its own group; four folds."""
    path = folder / "fields.npz"
    np.savez_compressed(path, field=maps)
    cases = []
    for row, numbers in enumerate(target.tolist()):
        known: dict[str, Target] = {"parameters": tuple(numbers), "sigma_8": numbers[1]}
        files: Files = {"image": FileRef(path=path)}
        cases.append(case_of(row, files, known, select={"row": row}))
    targets = {"parameters": BOTH, "sigma_8": TargetSpec(kind="number")}
    return Manifest.create(DatasetInfo(id="maps", targets=targets), cases, folder=folder)


def universe(n: int = 48) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    """Noise whose spread is the second number and whose smoothness, which no pixel tells, the first."""
    rng = np.random.default_rng(0)
    target = rng.uniform(0.3, 1, (n, 2))
    waves = np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij"))
    maps = []
    for smooth, spread in target:
        noise = np.fft.ifft2(
            np.fft.fft2(rng.normal(size=(SIDE, SIDE))) * np.exp(-((5 * smooth * waves) ** 2))
        )
        maps.append(127 + 30 * spread * noise.real / noise.real.std())
    return np.clip(np.array(maps), 0, 255).astype(np.uint8), target


def r_squared(found: ValuePredictions) -> float:
    return float(1 - (found.error**2).mean() / found.target.var())


def test_one_point_statistics_are_shares_mean_and_spread() -> None:
    density = np.array([[LOWEST - 9, LOWEST + 0.01], [2.99, 99.0]])
    found = one_point(density, bins=3)
    assert found[:3].tolist() == [0.5, 0.0, 0.5]
    assert found[3:] == pytest.approx([density.mean(), density.std()])


def test_white_noise_has_a_flat_spectrum_of_its_variance() -> None:
    noise = np.random.default_rng(0).normal(3, 2, (240, 200))
    found = power_spectrum(noise, scales=10)
    assert found[-4:] == pytest.approx(4, rel=0.05)  # of thousands of waves; the first ranges hold few


@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (64, 65)])
def test_a_single_wave_lies_in_its_range(shape: tuple[int, int]) -> None:
    rows = np.arange(shape[0])[:, None] * np.ones(shape[1])
    wave = np.cos(2 * np.pi * rows * 8 / shape[0])  # 8 waves along the rows' axis
    found = power_spectrum(wave, scales=100)  # one range a whole number
    waves = 8 * min(shape) / shape[0]
    assert int(found.argmax()) == int(waves) - 1
    assert found.max() / found.sum() > 0.99


def test_statistics_do_not_change_with_turns_mirrors_and_rolls() -> None:
    density = np.random.default_rng(1).normal(size=(32, 33))
    same = np.roll(density.T[::-1], (3, 5), axis=(0, 1))
    for rival in RIVALS.values():
        assert rival.features(same) == pytest.approx(rival.features(density))


def test_the_spread_is_that_of_leave_one_out_predictions() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(20, 3))
    target = features @ [[1.0], [0.5], [0.0]] + 0.3 * rng.normal(size=(20, 1))
    model = RidgeOnFeatures()
    model.fit(features, target)
    scaled = (features - features.mean(axis=0)) / features.std(axis=0)
    errors = []
    for penalty in 10.0 ** np.arange(-3, 5):
        squares = 0.0
        for left in range(20):
            keep = np.arange(20) != left
            x, y = scaled[keep], target[keep, 0]
            centred = x - x.mean(axis=0)
            slope = np.linalg.solve(centred.T @ centred + penalty * np.eye(3), centred.T @ (y - y.mean()))
            squares += float((scaled[left] - x.mean(axis=0)) @ slope + y.mean() - target[left, 0]) ** 2
        errors.append(squares / 20)
    assert model.std == pytest.approx([min(errors) ** 0.5])


def test_the_power_spectrum_sees_what_single_pixels_do_not(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, *universe())
    found = {
        name: predict_maps(rival, manifest, DensityReader(), target="parameters", fold="2").predictions
        for name, rival in RIVALS.items()
    }
    one, power = found["one-point"], found["power-spectrum"]
    assert isinstance(one, ManyValuePredictions) and isinstance(power, ManyValuePredictions)
    assert one.case_id == tuple(f"m{row:02d}" for row in range(1, 48, 4))
    assert r_squared(one.of("sigma_8")) > 0.9 and r_squared(power.of("sigma_8")) > 0.9
    assert r_squared(one.of("omega_m")) < 0.5
    assert r_squared(power.of("omega_m")) > 0.9


def test_the_tested_fold_teaches_nothing(tmp_path: Path) -> None:
    maps, target = universe(24)
    other = target.copy()
    other[1::4] = 0.0
    found = []
    for name, truth in (("a", target), ("b", other)):
        (tmp_path / name).mkdir()
        manifest = manifest_of(tmp_path / name, maps, truth)
        run = predict_maps(RIVALS["one-point"], manifest, DensityReader(), target="parameters", fold="2")
        found.append(run.predictions.mean)
    assert np.array_equal(found[0], found[1])


def test_one_number_and_unreadable_maps(tmp_path: Path) -> None:
    maps, target = universe(24)
    manifest = manifest_of(tmp_path, maps, target)
    broken = tuple(replace(c, select={"row": 99}) if c.id == "m01" else c for c in manifest.cases)
    manifest = Manifest(manifest.info, broken, manifest.folder)
    run = predict_maps(OnePointConfig(bins=5), manifest, DensityReader(), target="sigma_8", fold="2")
    assert isinstance(run.predictions, ValuePredictions) and len(run.predictions) == 5
    assert list(run.failures) == ["m01"] and run.parameters == 8
    elsewhere = predict_maps(OnePointConfig(), manifest, DensityReader(), target="sigma_8", fold="1")
    assert not elsewhere.failures  # another fold's


def test_a_fits_file_of_densities_has_the_statistics_of_its_logarithm(tmp_path: Path) -> None:
    maps, target = universe(8)
    manifest = manifest_of(tmp_path, maps, target)
    cases = []
    for row, case in enumerate(manifest.cases):
        path = tmp_path / f"{row}.fits"
        fits.PrimaryHDU((10.0 ** log_density(maps[row])).astype(np.float32)).writeto(path)
        cases.append(replace(case, files={"image": FileRef(path=path)}))
    other = Manifest(manifest.info, tuple(cases), manifest.folder)
    first, second = (
        predict_maps(OnePointConfig(), one, DensityReader(), target="parameters", fold="1").predictions.mean
        for one in (manifest, other)
    )
    assert first == pytest.approx(second, abs=0.02)  # values on the edge of a bin may fall to either side


def test_a_rivals_fold_is_a_finished_run_of_a_study(tmp_path: Path) -> None:
    manifest = manifest_of(tmp_path, *universe())
    out = tmp_path / "runs" / "power-spectrum" / "fold-3-seed-0"
    run = run_density_rival("power-spectrum", manifest, DensityReader(), out=out, fold="3")
    stored = read_predictions(out / "predictions.csv", task="regression")
    assert isinstance(stored, ManyValuePredictions) and stored.std is not None
    assert np.array_equal(stored.mean, run.predictions.mean)
    summary = json.loads((out / SUMMARY_FILE).read_text())
    assert summary["parameters"] == run.parameters and summary["seconds"] > 0
    evaluation = load_evaluation(out)
    assert evaluation is not None and evaluation.metrics["r2_sigma_8"].value > 0.9
    with pytest.raises(ConfigError, match="one-point, power-spectrum"):
        run_density_rival("bispectrum", manifest, DensityReader(), out=out, fold="3")


def test_classes_and_maps_of_several_sizes_are_refused(tmp_path: Path) -> None:
    maps, target = universe(8)
    manifest = manifest_of(tmp_path, maps, target)
    info = DatasetInfo(id="maps", targets={"label": TargetSpec(kind="class", classes=("a", "b"))})
    with pytest.raises(ConfigError, match="kind class"):
        predict_maps(
            OnePointConfig(),
            Manifest(info, manifest.cases, tmp_path),
            DensityReader(),
            target="label",
            fold="1",
        )
    fits.PrimaryHDU(np.ones((80, 80), dtype=np.float32)).writeto(tmp_path / "large.fits")
    first = manifest.cases[0]
    large = replace(first, files={"image": FileRef(path=tmp_path / "large.fits")})
    mixed = Manifest(manifest.info, (large, *manifest.cases[1:]), tmp_path)
    with pytest.raises(DataError, match="differ in size"):
        predict_maps(RIVALS["power-spectrum"], mixed, DensityReader(), target="parameters", fold="1")
