"""Catalogues in all formats give the same ids and positions; what is wrong with them is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy import units
from astropy.table import MaskedColumn, Table

from tessera.astronomy.catalogues import is_catalogue, look_like_hours, read_catalogue
from tessera.astronomy.input_config import SkyInput
from tessera.astronomy.parquet import write_parquet
from tessera.core.errors import DataError

from .sky_files import pattern, write_image

FORMATS = {
    "a.fits": "fits",
    "a.csv": "ascii.csv",
    "a.ecsv": "ascii.ecsv",
    "a.vot": "votable",
    "a.parquet": "parquet",
}
USUAL = SkyInput()


def table(**columns: Any) -> Table:
    usual = {"objid": ["b", "a", "c"], "ra": [10.5, 359.0, 0.25], "dec": [-90.0, 1.5, 2.0]}
    return Table({name: values for name, values in {**usual, **columns}.items() if values is not None})


def saved(folder: Path, content: Table, name: str = "a.ecsv") -> Path:
    path = folder / name
    if name.endswith(".parquet"):
        write_parquet(content, path)
    else:
        content.write(path, format=FORMATS[name], overwrite=True)
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_same(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, table(label=["tidal", "none", "tidal"]), name)
    assert is_catalogue(path)
    found = read_catalogue(path, USUAL)
    assert found.ids == ["b", "a", "c"]
    assert found.positions is not None
    assert found.positions.tolist() == [[10.5, -90.0], [359.0, 1.5], [0.25, 2.0]]
    assert found.texts("label") == ["tidal", "none", "tidal"]
    assert found.texts("group") == ["", "", ""]
    assert found.problems() == ["", "", ""]


def test_an_image_is_no_catalogue(tmp_path: Path) -> None:
    assert not is_catalogue(write_image(tmp_path / "a.fits", pattern((3, 4))))
    assert not is_catalogue(tmp_path / "a.jpg")


def test_units_of_angle_are_converted(tmp_path: Path) -> None:
    hours = table(
        ra=np.array([1.5, 2.0, 23.0]) * units.hourangle, dec=np.array([0.0, 60, -600]) * units.arcmin
    )
    found = read_catalogue(saved(tmp_path, hours), USUAL)
    assert found.positions is not None
    np.testing.assert_allclose(found.positions, [[22.5, 0], [30, 1], [345, -10]])
    text = table()
    text["ra"].unit = "h"
    path = saved(tmp_path, text, "a.vot")
    assert read_catalogue(path, USUAL).positions[0, 0] == pytest.approx(157.5)  # type: ignore[index]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("ra", ["01:02:03", "2", "3"], "text such as '01:02:03'"),
        ("ra", np.array([1.0, 2, 3]) * units.Jy, "the unit Jy"),
        ("dec", np.array([1.0, 2, 3]) * units.hour, "the unit h"),
    ],
)
def test_what_is_no_angle_is_refused(tmp_path: Path, column: str, values: Any, words: str) -> None:
    with pytest.raises(DataError, match=f"column {column} is no angle in degrees") as caught:
        read_catalogue(saved(tmp_path, table(**{column: values})), USUAL)
    assert words in str(caught.value)


def test_positions_in_another_unit_are_refused_as_a_whole(tmp_path: Path) -> None:
    seconds = table(ra=[36000.0, 37000.0, 38000.0], dec=[4000.0, 5000.0, 6000.0])
    with pytest.raises(DataError, match="ra and dec are not in degrees"):
        read_catalogue(saved(tmp_path, seconds), USUAL)


def test_a_single_impossible_position_is_that_rows_problem(tmp_path: Path) -> None:
    ra = MaskedColumn([10.0, 361.0, -1.0, 5.0, np.nan, 6.0], mask=[False, False, False, True, False, False])
    path = saved(tmp_path, table(objid=list("abcdef"), ra=ra, dec=[95.0, 0, 0, 0, 0, 0]))
    found = read_catalogue(path, USUAL)
    problems = [found.position_problem(row) for row in range(6)]
    assert problems[0].startswith("the declination is 95")
    assert problems[1].startswith("the right ascension is 361")
    assert problems[2].startswith("the right ascension is -1")
    assert problems[3:] == ["the position is not known", "the position is not known", ""]


def test_ids_given_twice_or_not_at_all_are_those_rows_problem(tmp_path: Path) -> None:
    ids = MaskedColumn(["a", "b", "a", "x"], mask=[False, False, False, True])
    found = read_catalogue(saved(tmp_path, Table({"ID": ids, "RA": np.zeros(4), "Dec": np.zeros(4)})), USUAL)
    assert found.problems() == ["", "", "the id a of row 3 is also that of row 1", "row 4 has no id"]


def test_a_column_that_is_named_but_missing_lists_those_there_are(tmp_path: Path) -> None:
    path = saved(tmp_path, table())
    for role in ("id", "ra", "dec", "path", "label", "group"):
        with pytest.raises(DataError, match="no column nothing") as caught:
            read_catalogue(path, SkyInput(**{f"{role}_column": "nothing"}))
        assert "objid, ra, dec" in str(caught.value)
        assert f"--{role}-column" in str(caught.value)
    with pytest.raises(DataError, match="no column of the dec beside ra"):
        read_catalogue(saved(tmp_path, table(dec=None), "a.csv"), USUAL)


def test_columns_are_named_or_found_by_usual_names(tmp_path: Path) -> None:
    content = Table({"RAJ2000": [1.0], "DEJ2000": [2.0], "Name": ["x"], "mine": ["y"], "Field": ["f"]})
    path = saved(tmp_path, content)
    found = read_catalogue(path, SkyInput(id_column="MINE", group_column="Field"))
    assert (found.ids, found.texts("group")) == (["y"], ["f"])
    assert read_catalogue(path, USUAL).ids == ["x"]
    assert found.positions is not None
    assert found.positions.tolist() == [[1.0, 2.0]]


def test_rows_without_ids_are_numbered(tmp_path: Path) -> None:
    assert read_catalogue(saved(tmp_path, table(objid=None)), USUAL).ids == [
        "row000001",
        "row000002",
        "row000003",
    ]


def test_ids_that_look_like_numbers_keep_their_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,ra,dec\n0042,1.0,2.0\n7,1.0,2.0\n", encoding="utf-8")
    assert read_catalogue(path, USUAL).ids == ["0042", "7"]
    path = saved(tmp_path, table(objid=[1237648720693755918, 2, 3]), "a.csv")
    assert read_catalogue(path, USUAL).ids[0] == "1237648720693755918"


def test_an_empty_or_damaged_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty"):
        read_catalogue(saved(tmp_path, table()[:0]), USUAL)
    for name in FORMATS:
        path = tmp_path / f"bad-{name}"
        path.write_bytes(b"\x00\x01 nothing of the kind")
        with pytest.raises(DataError, match=r"bad-a\."):
            read_catalogue(path, USUAL)
    with pytest.raises(DataError, match="there is no catalogue"):
        read_catalogue(tmp_path / "none.csv", USUAL)


def test_hours_are_only_suspected_without_a_unit(tmp_path: Path) -> None:
    low = table(ra=[10.0, 11.0, 12.0])
    assert look_like_hours(read_catalogue(saved(tmp_path, low), USUAL))
    assert not look_like_hours(read_catalogue(saved(tmp_path, table(), "a.csv"), USUAL))
    low["ra"].unit = "deg"
    assert not look_like_hours(read_catalogue(saved(tmp_path, low, "a.vot"), USUAL))
