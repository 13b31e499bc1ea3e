"""A catalogue comes back with all its rows and columns and the scores; maps lie where their image does."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import MaskedColumn, Table
from astropy.wcs import WCS

from tessera.astronomy.catalogue_files import NAMES
from tessera.astronomy.geometry import SkyGeometry, wcs_cards
from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.output_config import SkyOutput
from tessera.astronomy.parquet import read_parquet
from tessera.astronomy.readers import SkyReader
from tessera.astronomy.writers import SkyWriter, output_name, write_heat_map
from tessera.core.bundle.card import Calibration
from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Pixels, Region
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.core.evaluation.predictions import ClassPredictions, ManyValuePredictions
from tessera.core.evaluation.predictions_csv import read_predictions
from tessera.core.inference.interfaces import CaseResult, Outcome, OutcomeWriter, Writer, Written

from .sky_files import pattern, position_of, sky_header, write_image

SHAPE = (60, 80)
HEADER = sky_header(SHAPE)
GRID = SkyGeometry(SHAPE, wcs_cards(HEADER))
CONFIG: Any = SimpleNamespace(data=SimpleNamespace(target="label"))
TIDAL = TargetSpec(kind="class", classes=("none", "tidal"))
SUMMARIES = ([0.25, 0.75], [0.9, 0.1], [0.5, 0.5])


def result(case: Case, summary: Sequence[float], *, flags: tuple[str, ...] = ()) -> CaseResult:
    scores = np.array([summary], dtype=np.float32)
    return CaseResult(case, GRID, (Region((0, 0), SHAPE),), scores, scores[0], flags=flags)


def catalogue(folder: Path, name: str = "a.ecsv") -> tuple[Path, list[Case]]:
    """Four rows, not in the order of their ids: the second has an impossible position, the last an old id."""
    write_image(folder / "images" / "m.fits", pattern(SHAPE), header=HEADER)
    ra, dec = np.array([position_of(HEADER, 30.0, 40.0 + n) for n in range(4)]).T
    ra[1] = 400.0
    table = Table({"objid": ["c", "b", "a", "c"], "ra": ra, "dec": dec, "score": [1, 2, 3, 4]})
    table["z"] = MaskedColumn(
        [0.1, 0.2, 0.3, 0.4], mask=[False, False, True, False], unit="km / s", description="speed"
    )
    path = folder / name
    table.write(path, format="ascii.ecsv" if name.endswith(".ecsv") else None)
    reader = SkyReader(options=SkyInput(images=folder / "images", size_px=5))
    return path, reader.find(path)


def outcomes(writer: SkyWriter, cases: Sequence[Case], out: Path) -> Iterator[Outcome]:
    for number, case in enumerate(cases):
        if case.meta.get("problem"):
            yield Outcome(case, "failed", case.meta["problem"], Written())
            continue
        flags = ("non-photometric",) if number == 0 else ()
        written = writer.write(result(case, SUMMARIES[number % 3], flags=flags), out)
        yield Outcome(case, "suspicious" if flags else "ok", "; ".join(flags), written)


def texts(table: Table, name: str) -> list[str]:
    return ["" if value is np.ma.masked else str(value) for value in table[name]]


def test_the_catalogue_comes_back_with_scores_in_its_own_order(tmp_path: Path) -> None:
    path, cases = catalogue(tmp_path)
    assert [case.id for case in cases] == ["a", "b", "c", "c (row 4)"]
    writer = SkyWriter(CONFIG, TIDAL)
    assert isinstance(writer, Writer)
    assert isinstance(writer, OutcomeWriter)
    names = writer.collect_outcomes(outcomes(writer, cases, tmp_path), tmp_path / "out")
    assert names == ("catalogue.fits", "catalogue.csv")
    found = Table.read(tmp_path / "out" / "catalogue.fits")
    found.convert_bytestring_to_unicode()
    own = ["answer", "tessera_score", "p_none", "p_tidal", "status", "flags", "reason"]
    assert found.colnames == ["objid", "ra", "dec", "score", "z", *own]
    given = Table.read(path)
    for name in given.colnames:
        assert texts(found, name) == texts(given, name)
    assert (str(found["z"].unit), found["score"].tolist()) == ("km / s", [1, 2, 3, 4])
    assert texts(found, "answer") == ["none", "", "tidal", ""]
    np.testing.assert_allclose(np.ma.filled(found["p_tidal"], np.nan), [0.5, np.nan, 0.75, np.nan])
    assert texts(found, "status") == ["ok", "failed", "suspicious", "failed"]
    assert texts(found, "flags") == ["", "", "non-photometric", ""]
    assert "the right ascension is 400" in found["reason"][1]
    assert "also that of row 1" in found["reason"][3]


@pytest.mark.parametrize("kind", NAMES)
def test_every_format_says_the_same(tmp_path: Path, kind: Any) -> None:
    _, cases = catalogue(tmp_path)
    writer = SkyWriter(CONFIG, TIDAL, options=SkyOutput(formats=(kind,)), calibration=Calibration())
    (name,) = writer.collect_outcomes(outcomes(writer, cases, tmp_path), tmp_path)
    path = tmp_path / name
    found = (
        read_parquet(path)
        if kind == "parquet"
        else Table.read(path, format="votable" if kind == "votable" else None)
    )
    found.convert_bytestring_to_unicode()
    assert texts(found, "objid") == ["c", "b", "a", "c"]
    assert np.ma.filled(found["p_none"].astype(float), np.nan) == pytest.approx(
        [0.5, np.nan, 0.25, np.nan], nan_ok=True
    )
    assert texts(found, "status") == ["ok", "failed", "suspicious", "failed"]
    assert found["z"].mask.tolist() == [False, False, True, False]
    before = path.read_bytes()
    writer.collect_outcomes(outcomes(writer, cases, tmp_path), tmp_path)
    assert path.read_bytes() == before


def test_catalogues_of_other_formats_are_removed(tmp_path: Path) -> None:
    _, cases = catalogue(tmp_path)
    for formats in (("fits", "csv", "votable"), ("csv",)):
        writer = SkyWriter(CONFIG, TIDAL, options=SkyOutput(formats=formats))  # type: ignore[arg-type]
        writer.collect_outcomes(outcomes(writer, cases, tmp_path), tmp_path / "out")
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["catalogue.csv"]


def test_rows_that_were_not_asked_for_are_left_out(tmp_path: Path) -> None:
    _, cases = catalogue(tmp_path)
    writer = SkyWriter(CONFIG, TIDAL)
    writer.collect_outcomes(outcomes(writer, cases[:2], tmp_path), tmp_path)
    assert Table.read(tmp_path / "catalogue.csv")["objid"].tolist() == ["b", "a"]


def test_a_catalogue_that_is_gone_or_has_changed_is_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path, cases = catalogue(tmp_path)
    writer = SkyWriter(CONFIG, TIDAL)
    Table({"objid": ["c", "x", "a"], "ra": [1.0, 2, 3], "dec": [1.0, 2, 3]}).write(path, overwrite=True)
    writer.collect_outcomes(outcomes(writer, cases, tmp_path), tmp_path)
    assert Table.read(tmp_path / "catalogue.csv")["objid"].tolist() == ["c", "a"]
    assert "case b is not in the catalogue" in caplog.text
    path.unlink()
    writer.collect_outcomes(outcomes(writer, cases, tmp_path), tmp_path)
    found = Table.read(tmp_path / "catalogue.csv")
    assert found.colnames[:4] == ["id", "path", "ra_deg", "dec_deg"]
    assert found["id"].tolist() == ["a", "b", "c", "c (row 4)"]
    assert "only ids and positions" in caplog.text


def test_a_folder_gives_ids_paths_and_positions(tmp_path: Path) -> None:
    cases = [
        Case(id=name, files={"image": FileRef(path=tmp_path / name)}, group=name) for name in ("ä.fits", "b")
    ]
    writer = SkyWriter(CONFIG, TIDAL)
    writer.collect_outcomes(outcomes(writer, cases, tmp_path), tmp_path)
    found = Table.read(tmp_path / "catalogue.csv")
    assert found["id"].tolist() == ["ä.fits", "b"]
    assert found["path"][1] == str(tmp_path / "b")
    expected = position_of(HEADER, (SHAPE[0] - 1) / 2, (SHAPE[1] - 1) / 2)
    np.testing.assert_allclose([found["ra_deg"][0], found["dec_deg"][0]], expected, atol=1e-8)
    bare = dataclasses.replace(result(cases[1], [0.5, 0.5]), grid=SkyGeometry(SHAPE))
    assert writer.write(bare, tmp_path).rows["predictions"][0]["ra_deg"] == ""
    simulated = dataclasses.replace(bare, grid=Pixels(SHAPE))  # a map of a simulation
    assert writer.write(simulated, tmp_path).rows["predictions"][0]["dec_deg"] == ""


def test_no_outcomes_at_all_give_empty_tables(tmp_path: Path) -> None:
    writer = SkyWriter(CONFIG, TIDAL)
    writer.collect(iter(()), tmp_path)
    writer.collect_outcomes(iter(()), tmp_path)
    assert len(Table.read(tmp_path / "catalogue.fits")) == 0


def predictions(
    folder: Path, target: TargetSpec, known: Any, summary: Sequence[float], **options: Any
) -> Path:
    case = Case(
        id="a",
        files={},
        targets={} if known is None else {"label": known},
        group="g",
        meta={"ra_deg": "1.5", "dec_deg": "2"},
    )
    writer = SkyWriter(CONFIG, target, **options)
    written = writer.write(result(case, summary), folder)
    assert writer.collect(iter([(case, written)]), folder) == ("predictions.csv",)
    return folder / "predictions.csv"


def row(path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8", newline="") as file:
        return next(csv.DictReader(file))


def test_predictions_of_a_class_are_read_by_the_core(tmp_path: Path) -> None:
    path = predictions(tmp_path, TIDAL, "tidal", [0.25, 0.75])
    found = row(path)
    assert (found["target"], found["answer"], found["score"], found["ra_deg"]) == (
        "tidal",
        "tidal",
        "0.75",
        "1.5",
    )
    table = path.read_text().replace("group,", "group,fold,").replace("a,g,", "a,g,0,")
    path.write_text(table)
    again = read_predictions(path, task="classification")
    assert isinstance(again, ClassPredictions)
    assert again.probabilities.tolist() == [[0.25, 0.75]]


def test_tags_reach_their_own_thresholds(tmp_path: Path) -> None:
    target = TargetSpec(kind="tags", classes=("arm", "shell", "fan"))
    calibration = Calibration(thresholds={"arm": 0.9, "fan": 0.1})
    found = row(predictions(tmp_path, target, ("arm", "fan"), [0.8, 0.6, 0.2], calibration=calibration))
    assert (found["target"], found["answer"], found["p_arm"]) == ("arm|fan", "shell|fan", "0.800000012")


def test_numbers_have_means_and_deviations(tmp_path: Path) -> None:
    found = row(predictions(tmp_path, TargetSpec(kind="number"), 0.3, [0.25, 2 * np.log(0.5)]))
    assert (found["target"], found["mean"], float(found["std"])) == ("0.3", "0.25", pytest.approx(0.5))
    target = TargetSpec(kind="numbers", classes=("omega_m", "sigma_8"))
    summary = [0.3, 0.8, 2 * np.log(0.1), 2 * np.log(0.2)]
    path = predictions(tmp_path, target, (0.25, 0.75), summary)
    found = row(path)
    assert (found["target_omega_m"], found["target_sigma_8"]) == ("0.25", "0.75")
    values = [float(found[f"{part}_{name}"]) for name in target.classes for part in ("mean", "std")]
    assert values == pytest.approx([0.3, 0.1, 0.8, 0.2])
    assert row(predictions(tmp_path, target, None, summary))["target_omega_m"] == ""
    predictions(tmp_path, target, (0.25, 0.75), summary)
    path.write_text(path.read_text().replace("group,", "group,fold,").replace("a,g,", "a,g,0,"))
    assert isinstance(read_predictions(path, task="regression"), ManyValuePredictions)
    with pytest.raises(DataError, match="not segmented"):
        SkyWriter(CONFIG, TargetSpec(kind="mask", classes=("a", "b")))


def test_heat_maps_lie_where_their_image_does(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=SHAPE)
    write_heat_map(
        tmp_path / "maps" / "a.fits", values, GRID, keywords={"CASEID": "a", "METHOD": ("cam", "how")}
    )
    content = (tmp_path / "maps" / "a.fits").read_bytes()
    stored = [content[place : place + 80].decode() for place in range(0, 2880, 80)]
    assert set(GRID.cards) <= set(stored)
    with fits.open(tmp_path / "maps" / "a.fits") as found:
        np.testing.assert_array_equal(found[0].data, values.astype(np.float32))
        assert (found[0].header["CASEID"], found[0].header.comments["METHOD"]) == ("a", "how")
    write_heat_map(
        tmp_path / "maps" / "a.fits", values, GRID, keywords={"CASEID": "a", "METHOD": ("cam", "how")}
    )
    assert (tmp_path / "maps" / "a.fits").read_bytes() == content


def test_a_coarse_map_of_a_cut_out_lies_there_too(tmp_path: Path) -> None:
    cut = GRID.crop(Region((10, 20), (42, 52))).resample((8, 8))
    write_heat_map(tmp_path / "a.fits", np.zeros((8, 8)), cut)
    wcs = WCS(fits.getheader(tmp_path / "a.fits"))
    corner = wcs.all_pix2world([[-0.5, -0.5], [7.5, 7.5]], 0)
    expected = [position_of(HEADER, 9.5, 19.5), position_of(HEADER, 41.5, 51.5)]
    np.testing.assert_allclose(corner, expected, rtol=0, atol=1e-10)
    with pytest.raises(ValueError, match="resample the grid"):
        write_heat_map(tmp_path / "b.fits", np.zeros((8, 9)), cut)
    assert not (tmp_path / "b.fits").exists()


def test_file_names_are_safe_and_differ() -> None:
    assert output_name("123") == "123"
    assert output_name("j1201+02.1") == "j1201+02.1"
    names = {output_name(text) for text in ("a", "A", "a/b", "a_b", "a b", "../x", "é" * 300)}
    assert len(names) == 7
    assert all(len(name) < 120 and "/" not in name and not name.startswith(".") for name in names)
