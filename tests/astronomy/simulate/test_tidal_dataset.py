"""A survey as a data set: what is written is what the manifest and the truth say."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import WCS

from tessera.astronomy.simulate import TidalConfig, feature_of, simulate_tidal, tidal_galaxy
from tessera.astronomy.simulate.photometry import Colour
from tessera.astronomy.simulate.tidal_dataset import truth_row
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError

TINY: dict[str, Any] = {"size_px": 64, "prevalence": 0.5}


def simulate(out: Path, n: int = 3, seed: int = 1, **values: Any) -> Manifest:
    return simulate_tidal(out, n=n, seed=seed, values=TINY | values)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_manifest_loads_back_with_label_groups_and_facts(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=11)
    loaded = Manifest.load(tmp_path / "sims")
    assert loaded.digest == made.digest and loaded.verify() == []
    assert loaded.info.simulated and (loaded.info.id, loaded.info.role) == ("sims", "image")
    assert loaded.target("label") == TargetSpec(kind="class", classes=("none", "tidal"))
    assert all(case.group == case.id for case in loaded.cases)
    for case in loaded.cases:
        tidal = case.targets["label"] == "tidal"
        assert tidal == (case.meta["feature"] != "none") == (int(case.meta["confidence"]) > 0)
        assert tidal == (case.meta.get("mu", "") != "")


@pytest.mark.parametrize(("prevalence", "n"), [(0.12, 200), (0.5, 40), (1.0, 12), (0.0, 12), (0.9, 50)])
def test_prevalence_is_met_within_one_galaxy_and_kinds_take_turns(prevalence: float, n: int) -> None:
    config = TidalConfig(prevalence=prevalence)
    kinds = [feature_of(index, config) for index in range(n)]
    tidal = [kind for kind in kinds if kind is not None]
    assert abs(len(tidal) - prevalence * n) <= 0.5
    assert not tidal or max(Counter(tidal).values()) - min(Counter(tidal).values()) <= 1


def test_both_classes_are_spread_evenly_over_the_folds(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=25, prevalence=0.2, neighbours_per_arcmin2=0.0, compression="none")
    for label in ("none", "tidal"):
        folds = Counter(case.split for case in made.cases if case.targets["label"] == label)
        assert set(folds) == set("12345") and max(folds.values()) - min(folds.values()) <= 1


def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for parent, seed in (("a", 1), ("b", 1), ("c", 2)):
        simulate(tmp_path / parent / "sims", n=2, seed=seed, extras=True)
    a, b, c = (content(tmp_path / name / "sims") for name in "abc")
    assert a == b and set(a) == set(c)
    assert all(a[name] != c[name] for name in a)
    assert {Path(name).parts[0] for name in a} == {
        "dataset.yaml",
        "samples.csv",
        "truth.csv",
        "truth.fits",
        "images",
        "features",
    }


def test_a_smaller_set_is_the_beginning_of_a_larger_one(tmp_path: Path) -> None:
    small, large = simulate(tmp_path / "small", n=2), simulate(tmp_path / "large", n=3)
    assert [case.all_files()[0].sha256 for case in small.cases] == [
        case.all_files()[0].sha256 for case in large.cases[:2]
    ]
    assert [(c.split, c.targets, c.meta) for c in small.cases] == [
        (c.split, c.targets, c.meta) for c in large.cases[:2]
    ]


@pytest.mark.parametrize(("compression", "step"), [("none", 0.0), ("rice", 1 / 32)])
def test_files_hold_the_image_of_the_galaxy_by_band(tmp_path: Path, compression: str, step: float) -> None:
    made = simulate(tmp_path / "sims", n=1, compression=compression)
    galaxy = tidal_galaxy(0, seed=1, config=TidalConfig.model_validate(TINY))
    with fits.open(made.cases[0].path("image")) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "G", "R", "I"]
        for hdu, band in zip(hdus[1:], galaxy.image, strict=True):
            assert hdu.data.dtype.kind == "f" and hdu.data.dtype.itemsize == 4
            assert np.abs(hdu.data - band).max() <= step / 2 * 1.001 + 1e-5 * np.abs(band).max() * (step > 0)
            assert hdu.header["PHOTZP"] == 30.0 and hdu.header["FILTER"] == hdu.name.lower()


def test_the_wcs_puts_the_galaxy_at_its_position(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=2)
    table = Table.read(tmp_path / "sims" / "truth.csv")
    for number, case in enumerate(made.cases):
        galaxy = tidal_galaxy(number, seed=1, config=TidalConfig.model_validate(TINY))
        with fits.open(case.path("image")) as hdus:
            wcs = WCS(hdus["R"].header)
        place = wcs.pixel_to_world(*galaxy.at_px)
        assert place.ra.deg == pytest.approx(table["ra"][number], abs=1e-6)
        assert place.dec.deg == pytest.approx(table["dec"][number], abs=1e-6)
        north, east = (
            wcs.pixel_to_world(galaxy.at_px[0], galaxy.at_px[1] + 10),
            wcs.pixel_to_world(galaxy.at_px[0] - 10, galaxy.at_px[1]),
        )
        assert place.separation(north).arcsec == pytest.approx(1.86, rel=1e-4)
        assert place.position_angle(north).deg == pytest.approx(0.0, abs=1e-3)
        assert place.position_angle(east).deg == pytest.approx(90.0, abs=0.1)


def test_both_truth_tables_hold_a_row_for_every_galaxy(tmp_path: Path) -> None:
    made = simulate(tmp_path / "sims", n=6, features=["shell"])
    folder = tmp_path / "sims"
    text, table = Table.read(folder / "truth.csv"), Table.read(folder / "truth.fits")
    assert text.colnames == table.colnames
    assert list(text["id"]) == list(table["id"]) == [case.id for case in made.cases]
    assert set(text["feature"]) == {"none", "shell"}
    for name in ("mu", "flux_fraction", "z", "noise_g", "snr_px"):
        np.testing.assert_allclose(
            np.ma.filled(text[name].astype(float), np.nan), np.ma.filled(table[name].astype(float), np.nan)
        )
    assert str(table["mu"].unit) == "mag / arcsec2" and str(table["ra"].unit) == "deg"
    without = text["label"] == "none"
    assert np.all(text["mu"].mask == without) and not np.any(text["confidence"][without])
    assert all((folder / path).is_file() for path in text["path"])


@pytest.mark.parametrize(("mu", "snr"), [(25.5, 6.6), (26.0, 4.2), (26.5, 2.6), (27.0, 1.7), (27.5, 1.05)])
def test_signal_to_noise_of_the_stack_is_the_published_one(mu: float, snr: float) -> None:
    config = TidalConfig.model_validate(TINY | {"prevalence": 1.0, "mu_range": [mu, mu]})
    galaxy = tidal_galaxy(0, seed=1, config=config)
    assert galaxy.feature is not None
    old = replace(galaxy, feature=replace(galaxy.feature, colour=Colour(0.7, 0.35)))  # published for these
    assert truth_row(old, name="a", path="a.fits")["snr_px"] == pytest.approx(snr, rel=0.025)


def test_without_light_features_are_unseen_but_still_labelled(tmp_path: Path) -> None:
    dark, plain = (
        simulate(tmp_path / name, n=2, prevalence=share, feature_flux=flux)
        for name, share, flux in (("dark", 1.0, 0.0), ("plain", 0.0, 1.0))
    )
    for case, other in zip(dark.cases, plain.cases, strict=True):
        assert case.all_files()[0].sha256 == other.all_files()[0].sha256
        assert (case.targets["label"], other.targets["label"]) == ("tidal", "none")
        assert (case.meta["confidence"], case.meta.get("mu", ""), case.meta["flux_fraction"]) == (
            "0",
            "",
            "0.0",
        )


def test_progress_is_told_after_every_galaxy(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    simulate_tidal(tmp_path / "sims", n=2, seed=1, values=TINY, progress=lambda *step: seen.append(step))
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (1, -1)])
def test_impossible_requests_leave_nothing_behind(tmp_path: Path, n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="cannot simulate"):
        simulate(tmp_path / "sims", n=n, seed=seed)
    assert not (tmp_path / "sims").exists()
