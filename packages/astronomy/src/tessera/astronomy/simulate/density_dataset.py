"""Maps of matter with known parameters as a data set: FITS files, truth and manifest."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator

from tessera.astronomy.simulate.density_fields import Array, FieldKind, density_map
from tessera.astronomy.simulate.sky_files import write_map, write_tables
from tessera.astronomy.simulate.tidal_config import Range
from tessera.core.config import Config, validate
from tessera.core.data.case import Case, FileRef
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.manifest import Manifest
from tessera.core.data.simulated import check_request

FOLDS = 5
PARAMETERS = "parameters"  # the target that holds both numbers


class DensityMapsConfig(Config):
    """Maps of matter; each pair is (lowest, highest), drawn uniformly for each map."""

    size_px: int = Field(256, ge=16, le=4096, description="edge of a map, pixels")
    box_mpc_h: float = Field(1000.0, gt=0.0, le=1e5, description="edge of a map, Mpc/h")
    kind: FieldKind = Field("lognormal", description="exponential of a Gaussian field, or the field itself")
    omega_m: Range = Field((0.1, 0.5), description="sets where the spectrum turns over")
    sigma_8: Range = Field((0.6, 1.0), description="sets the amplitude, over discs of 8 Mpc/h")

    @model_validator(mode="after")
    def _check(self) -> Self:
        for name in ("omega_m", "sigma_8"):
            low, high = getattr(self, name)
            if low <= 0 or high > 10:
                raise ValueError(f"{name}: above 0 and at most 10, found {low} to {high}")
        if self.box_mpc_h / self.size_px < 0.01:
            raise ValueError("box_mpc_h: pixels of at least 0.01 Mpc/h")
        return self


def simulate_density_maps(
    out: Path,
    *,
    n: int,
    seed: int,
    values: Mapping[str, Any] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Manifest:
    """Write maps, their truth and a manifest of ``omega_m`` and ``sigma_8``, alone and together.

    Args:
        out: New folder; its name becomes the data set's id.
        n: Number of maps.
        seed: Not negative; the same seed gives the same bytes, and the first maps of a larger set.
        values: Fields of ``DensityMapsConfig`` that differ from its defaults.
        progress: Called with (done, n).
    """
    config = validate(DensityMapsConfig, values or {}, source="density-maps")
    check_request("maps", n=n, seed=seed)
    cards = {
        "BOXSIZE": (config.box_mpc_h, "edge of the periodic map, Mpc/h"),
        "PIXSIZE": (config.box_mpc_h / config.size_px, "edge of a pixel, Mpc/h"),
        "SIMULATE": (True, "made by tessera simulate density-maps"),
    }
    cases, rows = [], []
    for index in range(n):
        name = f"map-{index + 1:05d}"
        path = out / "maps" / f"{name}.fits"
        parameters, density = numbered_map(index, seed=seed, config=config)
        write_map(path, density, cards=cards)
        rows.append({"id": name, **parameters, "path": f"maps/{name}.fits"})
        cases.append(
            Case(
                id=name,
                files={"image": FileRef(path=path)},
                targets={**parameters, PARAMETERS: tuple(parameters.values())},
                group=name,
                split=str(index % FOLDS + 1),
            )
        )
        if progress is not None:
            progress(index + 1, n)
    write_tables(out, rows, units={})
    manifest = Manifest.create(_info(out.resolve().name, seed=seed, config=config), cases, folder=out)
    manifest.save(out)
    return manifest


def numbered_map(index: int, *, seed: int, config: DensityMapsConfig) -> tuple[dict[str, float], Array]:
    """Parameters and map ``index`` (from 0) of a set, whatever the size of the set."""
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(index,)))
    parameters = {
        "omega_m": round(rng.uniform(*config.omega_m), 6),
        "sigma_8": round(rng.uniform(*config.sigma_8), 6),
    }
    density = density_map(
        rng, **parameters, size_px=config.size_px, box_mpc_h=config.box_mpc_h, kind=config.kind
    )
    return parameters, density


def _info(name: str, *, seed: int, config: DensityMapsConfig) -> DatasetInfo:
    head = {
        "id": name,
        "title": f"Simulated maps of matter, seed {seed}",
        "description": f"Periodic {config.kind} maps of {config.box_mpc_h:g} Mpc/h with a spectrum of the "
        "form A k^n T(k)^2; sigma_8 sets A, omega_m the turnover.",
        "licence": "CC0-1.0",
        "source": "tessera simulate density-maps",
        "role": "image",
        "targets": {
            "omega_m": {"kind": "number"},
            "sigma_8": {"kind": "number"},
            PARAMETERS: {"kind": "numbers", "classes": ["omega_m", "sigma_8"]},
        },
        "splits": "folds 1 to 5 in turn",
        "simulated": True,
    }
    return validate(DatasetInfo, head, source=f"the manifest of {name}")
