"""What simulated galaxies are drawn from: survey, hosts, tidal features and their look-alikes (no torch)."""

from __future__ import annotations

import math
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from tessera.core.config import Config
from tessera.core.run_config import Fraction

FeatureKind = Literal["stream", "tail", "shell", "fan"]
Depth = Literal["cfhtls-wide", "deep", "shallow"]

DEPTHS: dict[Depth, tuple[float, float, float]] = {
    "cfhtls-wide": (0.6, 1.0, 1.4),
    "deep": (0.36, 0.6, 0.84),
    "shallow": (0.78, 1.3, 1.82),
}
"""Noise of the empty sky in g, r, i, counts a pixel at the zero point 30.

In r these are 26.35, 26.90 and 26.06 mag/arcsec^2 for 1 sigma in a pixel: a usual stack of CFHTLS-Wide, the
photon noise of a dark sky alone, and what the survey's 80 % completeness implies.
"""
MU_RANGES: dict[FeatureKind, tuple[float, float]] = {
    "stream": (25.5, 27.5),
    "tail": (24.0, 26.5),
    "shell": (25.0, 27.0),
    "fan": (25.5, 27.5),
}
"""Mean surface brightness in g; deeper surveys found nothing fainter than 27.5 (Sola et al. 2022)."""


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if not all(math.isfinite(bound) for bound in bounds) or bounds[0] > bounds[1]:
        raise ValueError(f"two finite numbers, the lower first, found {bounds[0]} and {bounds[1]}")
    return bounds


Range = Annotated[tuple[float, float], AfterValidator(_ordered)]
Noise = Annotated[float, Field(ge=0.0, le=1e4)]
NOT_NEGATIVE = ("flux_fraction", "noise_scale", "seeing_scale", "halo", "background_rms", "redshift")


class TidalConfig(Config):
    """A survey of galaxies; each pair is (lowest, highest), drawn uniformly for each galaxy."""

    size_px: int = Field(512, ge=64, le=2048, description="edge of the image, pixels of 0.186 arcsec")
    depth: Depth = Field("cfhtls-wide", description="noise of the sky in g, r and i by name")
    noise_sigma: tuple[Noise, Noise, Noise] | None = Field(
        None, description="noise of the sky in g, r and i, counts a pixel; null: by the depth's name"
    )
    noise_scale: Range = Field((1.0, 1.0), description="noise of a galaxy's image over that, log-uniform")
    electrons_per_count: float = Field(
        100.0, ge=0.0, le=1e6, description="gain behind the light's own noise; 0 leaves it out"
    )
    prevalence: Fraction = Field(0.12, description="share of galaxies with a feature; 0.5 for balanced sets")
    features: tuple[FeatureKind, ...] = Field(
        ("stream", "tail", "shell", "fan"), min_length=1, description="kinds of features, in turn"
    )
    mu_range: Range | None = Field(
        None, description="mean surface brightness of features, g, mag/arcsec^2; null: by their kind"
    )
    feature_flux: float = Field(
        1.0, ge=0.0, le=100.0, description="factor on the light of features; with 0 no one can see them"
    )
    flux_fraction: Range = Field(
        (0.005, 0.05),
        description="wanted light of a feature over its galaxy's in g; the shape gives way to it",
    )
    central_px: int = Field(
        256, ge=64, le=2048, description="edge of the central square in which features lie, pixels"
    )
    r_mag: Range = Field((15.5, 17.0), description="total magnitude of the galaxy, r, AB")
    redshift: Range = Field((0.04, 0.2), description="of the galaxy")
    early: Fraction = Field(
        0.6, description="share of galaxies with one profile of n = 2.5 to 6, else disc + bulge"
    )
    arms: Fraction = Field(0.7, description="share of disc galaxies with spiral arms")
    rings: Fraction = Field(0.1, description="share of galaxies with a ring")
    bright_neighbour: Fraction = Field(0.15, description="share with a neighbour of 16.5 to 18.5 mag in r")
    neighbours_per_arcmin2: float = Field(
        6.0, ge=0.0, le=100.0, description="galaxies of 18 to 23.5 mag in r"
    )
    stars_per_arcmin2: float = Field(1.5, ge=0.0, le=100.0, description="stars of 15 to 22 mag in r")
    seeing_arcsec: tuple[float, float, float] = Field((0.82, 0.74, 0.68), description="median in g, r and i")
    seeing_scale: Range = Field((0.9, 1.1), description="seeing of a galaxy's image over the median")
    moffat_beta: Range = Field((2.5, 3.0), description="exponent of the point-spread function's core")
    halo: Range = Field(
        (0.01, 0.02), description="share of light in the halo of 10 arcsec around every source"
    )
    background_rms: Range = Field((0.03, 0.1), description="uneven background over 10 to 60 arcsec, counts")
    hard: bool = Field(False, description="also draw cirrus, a ghost and a satellite's trail")
    compression: Literal["rice", "none"] = Field(
        "rice", description="rice: values to 1/32 count, a quarter of the bytes; none: as they are"
    )
    extras: bool = Field(False, description="also write each feature's light without noise")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in NOT_NEGATIVE:
            if getattr(self, name)[0] < 0:
                raise ValueError(f"{name}: not negative, found {getattr(self, name)[0]}")
        for name in ("noise_scale", "seeing_scale", "redshift"):
            if getattr(self, name)[0] < 0.001:
                raise ValueError(f"{name}: at least 0.001, found {getattr(self, name)[0]}")
        if min(self.seeing_arcsec) < 0.1 or max(self.seeing_arcsec) > 10:
            raise ValueError(f"seeing_arcsec: 0.1 to 10, found {self.seeing_arcsec}")
        if self.moffat_beta[0] <= 1:
            raise ValueError(f"moffat_beta: above 1, found {self.moffat_beta[0]}")
        if self.halo[1] > 1:
            raise ValueError(f"halo: at most 1, found {self.halo[1]}")
        if len(set(self.features)) < len(self.features):
            raise ValueError("features: each kind once")
        return self

    @property
    def sky_sigma(self) -> tuple[float, float, float]:
        """Noise of the empty sky in g, r and i, counts a pixel."""
        return DEPTHS[self.depth] if self.noise_sigma is None else self.noise_sigma
