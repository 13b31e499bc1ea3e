"""A catalogue through the core: one failed row each, the rest goes on, and the catalogue comes back."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import numpy as np
import pytest
import torch
from astropy.table import Table
from torch import nn

from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.readers import SkyReader
from tessera.astronomy.writers import SkyWriter
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.targets import TargetSpec
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.ledger import Identity
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps

from .sky_files import pattern, position_of, sky_header, write_image

SHAPE, SIDE = (120, 160), 16
HEADER = sky_header(SHAPE)
CONFIG: Any = SimpleNamespace(data=SimpleNamespace(bands=(), size_px=SIDE, target="label"))


class WholeCutOuts:
    """The whole cut-out as one window, its mean first, unusable pixels 0."""

    input_shape = (1, SIDE, SIDE)
    cuts_prepared: Literal[True] = True

    def plan(self, grid: Geometry) -> Sequence[Region]:
        return [Region((0, 0), grid.shape)]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        raise NotImplementedError

    def read(self, source: Any, region: Region) -> Any:
        return source.read(region)

    def prepare(self, source: Any) -> Any:
        return np.nan_to_num(source.read()["input"].numpy()) / 1e4, source.grid


class MeanOfPixels(nn.Module):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        mean = input.mean(dim=(1, 2, 3))
        return torch.stack([-mean, mean], dim=1)


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    """Rows: two good ones, half outside, far outside, all blank, same id, damaged file."""
    values = pattern(SHAPE)
    values[80:, 100:] = np.nan
    write_image(tmp_path / "images" / "mosaic.fits", values, header=HEADER)
    (tmp_path / "images" / "g6.fits").write_bytes(b"SIMPLE  =                    T")
    places = [(60, 80), (30, 40), (60, 1), (60, 300), (100, 130), (60, 80), (60, 80)]
    ra, dec = np.array([position_of(HEADER, *place) for place in places]).T
    table = Table({"id": [f"g{n}" for n in range(7)], "ra": ra, "dec": dec, "z": np.linspace(0.1, 0.7, 7)})
    table["id"][5] = "g0"
    table[::-1].write(tmp_path / "sample.csv")
    return tmp_path / "sample.csv"


def test_one_failed_row_each_and_the_rest_goes_on(listed: Path, tmp_path: Path) -> None:
    reader = SkyReader(CONFIG, options=SkyInput(images=tmp_path / "images"))
    steps = Steps(
        reader=reader,
        windows=WholeCutOuts(),
        forward=ForwardPass([MeanOfPixels()], task="class", batch_size=2),
        writer=SkyWriter(CONFIG, TargetSpec(kind="class", classes=("none", "tidal"))),
        identity=Identity(bundle_digest="b" * 64, config_digest="c" * 64, code_version="1.0"),
    )
    out = tmp_path / "out"
    summary = run(steps, reader.find(listed), out)
    assert (summary.ok, summary.suspicious, summary.failed) == (2, 1, 4)
    found = Table.read(out / "catalogue.csv")
    assert [str(name) for name in found["id"]] == ["g6", "g0", "g4", "g3", "g2", "g1", "g0"]
    expected = ["failed", "ok", "failed", "failed", "suspicious", "ok", "failed"]
    assert found["status"].tolist() == expected
    reasons = [str(text) for text in found["reason"]]
    failed = [reason for reason, status in zip(reasons, expected, strict=True) if status == "failed"]
    words = ("ends early", "too few usable pixels", "outside every image", "the id g0 of row 7 is also")
    assert all(word in reason for word, reason in zip(words, failed, strict=True)), failed
    assert str(found["flags"][4]) == "partly outside the image"
    for place, (row, column) in ((1, (60, 80)), (5, (30, 40))):
        cut = pattern(SHAPE)[row - 8 : row + 8, column - 8 : column + 8]
        mean = float(cut.mean()) / 1e4
        assert found["p_tidal"][place] == pytest.approx(1 / (1 + np.exp(-2 * mean)), rel=2e-3)
    with (out / "predictions.csv").open(encoding="utf-8", newline="") as file:
        assert [row["case_id"] for row in csv.DictReader(file)] == ["g0", "g1", "g2"]
    before = {path.name: path.read_bytes() for path in out.glob("*.csv")}
    again = run(steps, reader.find(listed), out)
    assert again.computed in (0, 3, 4)  # files that are seconds old are looked at again
    assert {path.name: path.read_bytes() for path in out.glob("*.csv")} == before
