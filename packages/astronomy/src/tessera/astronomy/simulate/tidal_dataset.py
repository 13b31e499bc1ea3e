"""A simulated survey of galaxies as a data set: images, truth catalogue and manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tessera.astronomy.simulate.features import confidence
from tessera.astronomy.simulate.galaxy import Galaxy, simulate_galaxy
from tessera.astronomy.simulate.photometry import BANDS, PIXEL_SCALE_ARCSEC, counts_per_px
from tessera.astronomy.simulate.sky_files import wcs_cards, write_bands, write_tables
from tessera.astronomy.simulate.tidal_config import FeatureKind, TidalConfig
from tessera.core.config import validate
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.simulated import check_request

FOLDS = 5
CLASSES = ("none", "tidal")
UNITS = {
    "ra": "deg",
    "dec": "deg",
    "mu": "mag / arcsec2",
    "r_mag": "mag",
    "radius_kpc": "kpc",
    "radius_px": "pixel",
    "angle_deg": "deg",
    **{f"noise_{band}": "count" for band in BANDS},
    **{f"seeing_{band}": "arcsec" for band in BANDS},
    "background_rms": "count",
}
META = ("feature", "mu", "confidence", "flux_fraction", "snr_px", "ra", "dec", "z", "r_mag", "early")
Progress = Callable[[int, int], None]


def simulate_tidal(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> Manifest:
    """Write galaxies, ``truth.csv``, ``truth.fits`` and a manifest with the class ``label`` below ``out``.

    Tidal galaxies are spread evenly over the survey and over the folds, kinds of features in turn.

    Args:
        out: New folder; its name becomes the data set's id.
        n: Number of galaxies.
        seed: Not negative; the same seed gives the same bytes, and the first galaxies of a larger set.
        values: Fields of ``TidalConfig`` that differ from its defaults.
        progress: Called with (done, n).
    """
    config = validate(TidalConfig, values or {}, source="tidal")
    check_request("galaxies", n=n, seed=seed)
    cases, rows = [], []
    for index in range(n):
        name, path = f"tidal-{index + 1:05d}", Path("images", f"tidal-{index + 1:05d}.fits")
        galaxy = tidal_galaxy(index, seed=seed, config=config)
        _write(out, path, galaxy, name=name, config=config)
        rows.append(row := truth_row(galaxy, name=name, path=path.as_posix()))
        cases.append(_case(out, row, fold=_fold(index, config)))
        if progress is not None:
            progress(index + 1, n)
    write_tables(out, rows, units=UNITS)
    manifest = Manifest.create(_info(out.resolve().name, seed=seed, config=config), cases, folder=out)
    manifest.save(out)
    return manifest


def tidal_galaxy(index: int, *, seed: int, config: TidalConfig) -> Galaxy:
    """Galaxy ``index`` (from 0) of a set, whatever the size of the set."""
    return simulate_galaxy(seed, index, kind=feature_of(index, config), config=config)


def feature_of(index: int, config: TidalConfig) -> FeatureKind | None:
    """The feature that galaxy ``index`` has, None without one."""
    before = _tidal_before(index, config.prevalence)
    if _tidal_before(index + 1, config.prevalence) == before:
        return None
    return config.features[before % len(config.features)]


def _tidal_before(index: int, prevalence: float) -> int:
    """Tidal galaxies among the first ``index``: within half of one of the expected number."""
    return math.floor(index * prevalence + 0.5)


def _fold(index: int, config: TidalConfig) -> int:
    """1 to 5 in turn within tidal galaxies and within the others."""
    tidal = _tidal_before(index, config.prevalence)
    return (tidal if feature_of(index, config) else index - tidal) % FOLDS + 1


def truth_row(galaxy: Galaxy, *, name: str, path: str) -> dict[str, Any]:
    """A galaxy's row of the truth catalogue; None where there is nothing to say."""
    host, feature, field = galaxy.host, galaxy.feature, galaxy.field
    mu = math.inf if feature is None else feature.mu
    seen = math.isfinite(mu)
    return {
        "id": name,
        "ra": round(galaxy.ra_deg, 7),
        "dec": round(galaxy.dec_deg, 7),
        "z": round(host.redshift, 5),
        "label": CLASSES[feature is not None],
        "feature": "none" if feature is None else feature.kind,
        "confidence": confidence(mu),
        "mu": round(mu, 4) if seen else None,
        "flux_fraction": round(feature.flux_fraction, 6) if feature is not None else 0.0,
        "snr_px": round(stack_snr(galaxy), 4),
        "progenitor": feature is not None and feature.progenitor,
        "r_mag": round(host.r_mag, 4),
        "early": host.early,
        "radius_kpc": round(host.radius_kpc, 4),
        "radius_px": round(host.main.radius_px, 4),
        "sersic_n": round(host.main.n, 4),
        "bulge_to_total": round(host.bulge_to_total, 4),
        "axis_ratio": round(host.main.axis_ratio, 4),
        "angle_deg": round(math.degrees(host.main.angle_rad), 3),
        "arms": 0 if host.arms is None else host.arms.number,
        "ring": host.ring is not None,
        "bright_neighbour": field.bright,
        "neighbours": len(field.neighbours),
        "stars": len(field.stars),
        **{f"noise_{band}": round(s, 5) for band, s in zip(BANDS, galaxy.noise_sigma, strict=True)},
        **{
            f"seeing_{band}": round(psf.fwhm_px * PIXEL_SCALE_ARCSEC, 4)
            for band, psf in zip(BANDS, galaxy.psf, strict=True)
        },
        "background_rms": round(galaxy.background_rms, 5),
        "path": path,
    }


def stack_snr(galaxy: Galaxy) -> float:
    """Mean signal-to-noise of a pixel of the feature's area in the sum of g, r and i, 0 without a feature."""
    feature = galaxy.feature
    noise = math.sqrt(sum(sigma**2 for sigma in galaxy.noise_sigma))
    if feature is None or not math.isfinite(feature.mu) or noise == 0:
        return 0.0
    weights = feature.colour.weights
    return counts_per_px(feature.mu) * sum(weights) / weights[0] / noise


def _write(out: Path, path: Path, galaxy: Galaxy, *, name: str, config: TidalConfig) -> None:
    cards = wcs_cards(at_px=galaxy.at_px, ra_deg=galaxy.ra_deg, dec_deg=galaxy.dec_deg)
    bands = [
        {
            "SKYSIGMA": (round(sigma, 5), "noise of the empty sky, counts a pixel"),
            "SEEING": (round(psf.fwhm_px * PIXEL_SCALE_ARCSEC, 4), "full width at half maximum, arcsec"),
        }
        for sigma, psf in zip(galaxy.noise_sigma, galaxy.psf, strict=True)
    ]
    write_bands(
        out / path, galaxy.image, name=name, cards=cards, band_cards=bands, compression=config.compression
    )
    if galaxy.feature_image is not None:
        write_bands(
            out / "features" / path.name,
            galaxy.feature_image,
            name=name,
            cards=cards,
            band_cards=bands,
            compression="none",
        )


def _case(out: Path, row: Mapping[str, Any], *, fold: int) -> Case:
    return Case(
        id=row["id"],
        files={"image": FileRef(path=out / row["path"])},
        targets={"label": row["label"]},
        group=row["id"],
        split=str(fold),
        meta={key: "" if row[key] is None else str(row[key]) for key in META},
    )


def _info(name: str, *, seed: int, config: TidalConfig) -> DatasetInfo:
    head = {
        "id": name,
        "title": f"Simulated galaxies with tidal features, seed {seed}",
        "description": f"Galaxies in g, r and i at the depth {config.depth}, {config.prevalence:.0%} with a "
        "tidal feature of known surface brightness; truth of every galaxy in truth.csv and truth.fits.",
        "licence": "CC0-1.0",
        "source": "tessera simulate tidal",
        "role": "image",
        "targets": {"label": {"kind": "class", "classes": list(CLASSES)}},
        "splits": "folds 1 to 5 in turn within each class",
        "simulated": True,
    }
    return validate(DatasetInfo, head, source=f"the manifest of {name}")
