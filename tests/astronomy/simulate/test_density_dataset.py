"""Maps of matter as a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from tessera.astronomy.simulate import DensityMapsConfig, numbered_map, simulate_density_maps
from tessera.core.config import validate
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError


def simulate(out: Path, n: int = 2, seed: int = 1, **values: Any) -> Manifest:
    return simulate_density_maps(out, n=n, seed=seed, values={"size_px": 32} | values)


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_manifest_loads_back_with_two_numbers_a_map(tmp_path: Path) -> None:
    made = simulate(tmp_path / "maps", n=6)
    loaded = Manifest.load(tmp_path / "maps")
    assert loaded.digest == made.digest and loaded.verify() == [] and loaded.info.simulated
    assert loaded.target("omega_m") == loaded.target("sigma_8") == TargetSpec(kind="number")
    assert loaded.target("parameters") == TargetSpec(kind="numbers", classes=("omega_m", "sigma_8"))
    assert [case.split for case in loaded.cases] == ["1", "2", "3", "4", "5", "1"]
    table = Table.read(tmp_path / "maps" / "truth.csv")
    for case, row in zip(loaded.cases, table, strict=True):
        assert case.group == case.id == row["id"]
        assert (case.targets["omega_m"], case.targets["sigma_8"]) == (row["omega_m"], row["sigma_8"])
        assert case.targets["parameters"] == (row["omega_m"], row["sigma_8"])


def test_files_hold_the_map_and_its_scale(tmp_path: Path) -> None:
    made = simulate(tmp_path / "maps", box_mpc_h=256.0)
    _, density = numbered_map(1, seed=1, config=DensityMapsConfig(size_px=32, box_mpc_h=256.0))
    with fits.open(made.cases[1].path("image")) as hdus:
        assert np.array_equal(hdus[0].data, density) and hdus[0].data.dtype.itemsize == 4
        assert (hdus[0].header["PIXSIZE"], hdus[0].header["BOXSIZE"]) == (8.0, 256.0)
        assert "OMEGA_M" not in hdus[0].header  # the truth is not in what a network is given


def test_same_seed_gives_the_same_bytes_and_a_smaller_set_is_the_beginning(tmp_path: Path) -> None:
    for parent, n, seed in (("a", 2, 1), ("b", 2, 1), ("c", 1, 1), ("d", 2, 2)):
        simulate(tmp_path / parent / "maps", n=n, seed=seed)
    a, b, c, d = (content(tmp_path / name / "maps") for name in "abcd")
    assert a == b
    assert c["maps/map-00001.fits"] == a["maps/map-00001.fits"] != d["maps/map-00001.fits"]


def test_progress_is_told_and_gaussian_maps_go_below_zero(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    made = simulate_density_maps(
        tmp_path / "maps",
        n=2,
        seed=1,
        values={"size_px": 32, "kind": "gaussian"},
        progress=lambda *step: seen.append(step),
    )
    assert seen == [(1, 2), (2, 2)]
    assert fits.getdata(made.cases[0].path("image")).min() < 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"omega_m": [0.0, 0.3]}, "omega_m: above 0"),
        ({"sigma_8": [1.0, 0.6]}, "the lower first"),
        ({"kind": "fractal"}, "lognormal"),
        ({"size_px": 4096, "box_mpc_h": 1.0}, "pixels of at least"),
    ],
)
def test_nonsense_is_refused_by_name(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        validate(DensityMapsConfig, values, source="density-maps")


@pytest.mark.parametrize(("n", "seed"), [(0, 1), (1, -1)])
def test_impossible_requests_leave_nothing_behind(tmp_path: Path, n: int, seed: int) -> None:
    with pytest.raises(ConfigError, match="cannot simulate these maps"):
        simulate(tmp_path / "maps", n=n, seed=seed)
    assert not (tmp_path / "maps").exists()
