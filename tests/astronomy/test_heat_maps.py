"""Heat maps: what is asked of a network, and where on the sky its answer came from."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from astropy.io import fits
from astropy.wcs import WCS
from torch import Tensor, nn

from tessera.astronomy.config import SkyConfig, SkyDataConfig
from tessera.astronomy.front_ends import SkyFrontEnd
from tessera.astronomy.heat_maps import heat_map_among, map_rule, on_image
from tessera.astronomy.model_config import FrontEndConfig
from tessera.astronomy.output_config import SkyOutput
from tessera.astronomy.readers import SkyReader
from tessera.astronomy.windows import SkyWindows
from tessera.astronomy.writers import SkyWriter
from tessera.core.backbone.last_map import LastMapNetwork
from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError
from tessera.core.explain import GradCam, Occlusion
from tessera.core.inference.extras import Extras
from tessera.core.inference.interfaces import CaseResult, MapWriter
from tessera.core.network import Network

from .sky_files import position_of, sky_header, write_image

SHAPE = (60, 80)
HEADER = sky_header(SHAPE)
TIDAL = TargetSpec(kind="class", classes=("none", "tidal"))
SOURCE = (40, 33)  # row and column: upper left of the middle


class CornerFlux(LastMapNetwork):
    """Its logit of "tidal" is the flux of the upper left quarter (as FITS is shown) of what it sees."""

    def last_map(self, x: Tensor) -> Tensor:
        return x

    def classify(self, last: Tensor) -> Tensor:
        rows, columns = last.shape[2] // 2, last.shape[3] // 2
        flux = last[:, :, rows:, :columns].sum(dim=(1, 2, 3))
        return torch.stack([torch.zeros_like(flux), flux], dim=1)


def config(size_px: int) -> SkyConfig:
    return SkyConfig(pipeline="tidal-features", preset="test", data=SkyDataConfig(size_px=size_px))


def explained(
    folder: Path, size_px: int, options: SkyOutput, front: nn.Module
) -> tuple[SkyWriter, CaseResult]:
    """A whole prediction by hand: read, cut, pad, explain."""
    image = np.zeros((1, *SHAPE), dtype=np.float32)
    image[0, SOURCE[0], SOURCE[1]] = 5.0
    if options.heat_map_method == "occlusion":
        image[0, 15, 50] = 50.0  # in another corner: does not speak for the answer
    path = write_image(folder / "a.fits", image[0], header=HEADER)
    case = Case(id="A b", files={"image": FileRef(path=path)}, group="a")
    windows, source = SkyWindows(config(size_px)), SkyReader(config(size_px)).open(case)
    prepared, grid = windows.prepare(source)
    (region,) = windows.plan(grid)
    batch = windows.read(ArraySource(prepared, grid), region)["input"][None]
    writer = SkyWriter(config(size_px), TIDAL, options=options)
    extras = Extras(answers=2, shape=(size_px, size_px), maps=writer.explained)
    network = Network(front, CornerFlux())
    answers = network(batch).softmax(dim=1).detach().numpy()
    found = extras.split(np.concatenate([answers, extras.of([network], batch)], axis=1))
    return writer, CaseResult(case, source.grid, (region,), found.answers, found.answers[0], maps=found.maps)


@pytest.mark.parametrize("size_px", [32, 64, 96])
@pytest.mark.parametrize(("method", "reach"), [("grad-cam", 0), ("occlusion", 1)])
def test_the_hottest_pixel_lies_on_the_source_on_the_sky(
    tmp_path: Path, size_px: int, method: Any, reach: int
) -> None:
    front = SkyFrontEnd(FrontEndConfig(crop_px=28))
    writer, result = explained(tmp_path, size_px, SkyOutput(heat_map_method=method), front)
    written = writer.write(result, tmp_path)
    (name,) = written.files
    assert name.startswith("heatmaps/A_b-")
    with fits.open(tmp_path / name) as units:
        values, header = units[0].data, units[0].header
    assert values.shape == SHAPE
    row, column = np.unravel_index(values.argmax(), SHAPE)
    window = size_px // 8
    assert max(abs(row - SOURCE[0]), abs(column - SOURCE[1])) <= reach * window
    found = WCS(header).all_pix2world([[column, row]], 0)[0]
    np.testing.assert_allclose(found, position_of(HEADER, float(row), float(column)), rtol=0, atol=1e-10)
    assert (header["METHOD"], header["CLASS"], header["CASEID"]) == (method, "tidal", "A b")
    assert header["SCORE"] == pytest.approx(result.summary[1])
    assert not values[15, 50] > 0


def test_by_default_only_images_of_the_last_class_have_one(tmp_path: Path) -> None:
    for options, expected in (({}, 0), ({"heat_maps": "all"}, 1), ({"heat_maps": "none"}, 0)):
        writer, result = explained(tmp_path, 32, SkyOutput(), nn.Identity())
        chosen = SkyWriter(config(32), TIDAL, options=SkyOutput(**options))
        negative = CaseResult(
            result.case, result.grid, result.regions, 1 - result.scores, 1 - result.summary, maps=result.maps
        )
        assert len(chosen.write(negative, tmp_path).files) == expected
        assert len(writer.write(result, tmp_path).files) == 1


def test_the_same_map_gives_the_same_bytes(tmp_path: Path) -> None:
    writer, result = explained(tmp_path, 32, SkyOutput(), nn.Identity())
    first, second = (
        (tmp_path / part / writer.write(result, tmp_path / part).files[0]).read_bytes() for part in "ab"
    )
    assert first == second


def test_a_person_chooses_what_is_explained_and_how() -> None:
    rule = map_rule(SkyOutput(), TIDAL, side_px=None)
    assert rule is not None
    assert (rule.output, rule.method, rule.exclusive) == (1, GradCam(), True)
    rule = map_rule(SkyOutput(heat_map_method="occlusion"), TIDAL, side_px=512)
    assert rule is not None
    assert rule.method == Occlusion(64, stride=32)
    rule = map_rule(SkyOutput(heat_map_method="occlusion"), TIDAL, side_px=8)
    assert rule is not None
    assert rule.method == Occlusion(1, stride=1)
    with pytest.raises(ValueError, match="side of an input"):
        map_rule(SkyOutput(heat_map_method="occlusion"), TIDAL, side_px=None)
    assert map_rule(SkyOutput(heat_maps="none"), TIDAL, side_px=512) is None


def test_only_classes_are_explained() -> None:
    numbers = TargetSpec(kind="numbers", classes=("omega_m", "sigma_8"))
    data: Any = SimpleNamespace(data=SimpleNamespace(target="label"))
    writer = SkyWriter(data, numbers)
    assert isinstance(writer, MapWriter)
    assert writer.explained is None
    with pytest.raises(ConfigError, match="only an answer among classes"):
        SkyWriter(data, numbers, options=SkyOutput(heat_maps="all"))


@pytest.mark.parametrize(
    ("shape", "corners"),
    [
        ((8, 8), {(0, 0): (0, 0), (7, 7): (7, 7)}),
        ((5, 9), {(0, 0): (1, 0), (4, 7): (5, 7)}),  # padded by 1 below and 2 above; column 8 cut off
        ((11, 4), {(1, 0): (0, 2), (8, 3): (7, 5)}),  # rows 0, 9 and 10 cut off; padded by 2
    ],
)
def test_what_the_network_did_not_see_is_zero(
    shape: tuple[int, int], corners: dict[tuple[int, int], tuple[int, int]]
) -> None:
    seen = np.arange(1, 65, dtype=np.float32).reshape(8, 8)
    whole = on_image(seen, shape)
    assert whole.shape == shape
    assert np.count_nonzero(whole) == min(shape[0], 8) * min(shape[1], 8)
    assert {place: whole[place] for place in corners} == {place: seen[at] for place, at in corners.items()}


def test_the_heat_map_is_found_among_a_predictions_files(tmp_path: Path) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    header = fits.Header({"METHOD": "occlusion", "CLASS": "tidal"})
    path = write_image(tmp_path / "heatmaps" / "a.fits", values, header=header)
    other = write_image(tmp_path / "masks" / "a.fits", values)
    found = heat_map_among([other, path])
    assert found is not None
    np.testing.assert_array_equal(found.values, values)
    assert (found.method, found.class_name) == ("occlusion", "tidal")
    assert heat_map_among([other]) is None
    path.write_bytes(b"not FITS" * 1000)
    with pytest.raises(DataError, match=r"cannot read .*a\.fits"):
        heat_map_among([path])
    path.unlink()
    with pytest.raises(DataError, match="cannot read"):
        heat_map_among([path])
