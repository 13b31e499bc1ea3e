"""Catalogues: tables of objects in FITS, VOTable, CSV, ECSV or Parquet, with their columns understood.

The columns of the id, position, file, label and group are found by usual names, whatever the case of
letters, or named in the options. Right ascension and declination are taken in degrees unless the table
gives them another unit of angle.
"""

from __future__ import annotations

import csv
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tessera.astronomy.fits_files import SUFFIXES as FITS
from tessera.astronomy.fits_files import is_fits_table, scan
from tessera.astronomy.parquet import read_parquet
from tessera.core.errors import DataError

if TYPE_CHECKING:
    from astropy.table import Column, Table

    from tessera.astronomy.input_config import SkyInput

Floats = npt.NDArray[np.float64]

FORMATS = {
    ".ecsv": "ascii.ecsv", ".csv": "ascii.csv", ".vot": "votable", ".votable": "votable", ".xml": "votable",
    ".parquet": "parquet", ".pq": "parquet",
}  # fmt: skip
ID = (
    "objid",
    "object_id",
    "id",
    "id_str",
    "source_id",
    "sourceid",
    "name",
    "galaxy",
    "iauname",
    "pgc",
    "target",
)
RA = ("ra", "ra_deg", "radeg", "raj2000", "_raj2000", "ra_icrs", "ra_j2000", "alpha_j2000", "alphawin_j2000",
      "rad_deg", "right_ascension", "ramean")  # fmt: skip
DEC = ("dec", "dec_deg", "decdeg", "de_deg", "dej2000", "_dej2000", "decj2000", "de_icrs", "dec_icrs",
       "dec_j2000", "delta_j2000", "deltawin_j2000", "declination", "decmean", "de")  # fmt: skip
FILE = ("path", "file", "filename", "file_name", "file_loc", "image", "cutout")
LABEL = ("label", "class")
GROUP = ("group",)
HOURS = ("h", "hr", "hour", "hourangle")  # as people write them of right ascension
HOURS_A_DAY = 24.0
SHOWN = 20  # columns in an error


@dataclass(frozen=True)
class Catalogue:
    """A table whose rows are objects.

    Args:
        path: The file.
        table: All of it, as read.
        names: Role (id, ra, dec, path, label, group) to column, of those that were found.
        ids: Name of each row; empty where it has none.
        positions: Right ascension and declination (N, 2), degrees; NaN where unknown; None without columns.
        has_unit: Whether the table gives the right ascension's unit.
    """

    path: Path
    table: Table
    names: dict[str, str]
    ids: list[str]
    positions: Floats | None
    has_unit: bool = False

    def __len__(self) -> int:
        return len(self.table)

    def texts(self, role: str) -> list[str]:
        """A column as text, empty where masked; empty texts where there is no such column."""
        name = self.names.get(role)
        return [""] * len(self) if name is None else _texts(self.table[name])

    def problems(self) -> list[str]:
        """What is wrong with each row by itself: empty when nothing is."""
        counts = Counter(self.ids)
        first: dict[str, int] = {}
        found = []
        for row, name in enumerate(self.ids):
            problem = ""
            if not name:
                problem = f"row {row + 1} has no id"
            elif counts[name] > 1 and first.setdefault(name, row) != row:
                problem = f"the id {name} of row {row + 1} is also that of row {first[name] + 1}"
            found.append(problem)
        return found

    def position_problem(self, row: int) -> str:
        """What is wrong with a row's position: empty when nothing is."""
        if self.positions is None:
            return "the catalogue has no positions"
        ra, dec = self.positions[row].tolist()
        if not (np.isfinite(ra) and np.isfinite(dec)):
            return "the position is not known"
        if not 0.0 <= ra <= 360.0:
            return f"the right ascension is {ra:g}, not in 0 to 360 degrees"
        if not -90.0 <= dec <= 90.0:
            return f"the declination is {dec:g}, not in -90 to 90 degrees"
        return ""


def is_catalogue(path: Path) -> bool:
    """Whether a file is named like a table, or is a FITS file that begins with one."""
    name = path.name.lower()
    return path.suffix.lower() in FORMATS or (name.endswith(FITS) and is_fits_table(path))


def read_catalogue(path: Path, options: SkyInput, *, label: str = "label") -> Catalogue:
    """Read a catalogue and understand its columns; raises ``DataError`` for what concerns all rows.

    Args:
        path: The file.
        options: Names of the columns, where they are unusual.
        label: The target's name, a further usual name of the column of labels.
    """
    table = read_table(path, id_column=options.id_column)
    if not len(table):
        raise DataError(f"the catalogue {path} is empty", found="no rows", expected="a row an object")
    names = _roles(path, table, options, label)
    ids = row_names(table, names.get("id", ""))
    positions, has_unit = None, False
    if "ra" in names and "dec" in names:
        ra, dec = (_degrees(path, table[names[role]], hours=role == "ra") for role in ("ra", "dec"))
        positions = np.stack([ra, dec], axis=1)
        has_unit = table[names["ra"]].unit is not None
        _check_angles(path, positions, names)
    return Catalogue(path, table, names, ids, positions, has_unit)


def row_names(table: Table, column: str) -> list[str]:
    """The ids in a column; without one ``row000001``, ``row000002``, ..."""
    return _texts(table[column]) if column else [f"row{row + 1:06d}" for row in range(len(table))]


def read_table(path: Path, *, id_column: str | None = None) -> Table:
    """A table with the types, units and descriptions it has in the file.

    Args:
        path: The file.
        id_column: Of a CSV: a column of ids, whose zeros in front are kept, beside those with usual names.
    """
    from astropy.table import Table
    from astropy.utils.exceptions import AstropyWarning

    if not path.is_file():
        raise DataError(f"there is no catalogue {path}", hint="check the spelling of the path")
    kind = FORMATS.get(path.suffix.lower(), "fits")
    if kind == "fits":
        scan(path)  # astropy would fill a file that was cut short
    try:
        with warnings.catch_warnings():
            # of units and names that are not in the standards; the values are read all the same
            warnings.simplefilter("ignore", AstropyWarning)
            if kind == "parquet":
                table = read_parquet(path)
            else:
                named = {"use_names_over_ids": True} if kind == "votable" else {}
                table = Table.read(path, format=kind, **named)
    except Exception as error:  # each format has its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DataError(
            f"cannot read the catalogue {path}",
            found=reason[:300],
            expected=f"a table in {kind.removeprefix('ascii.').upper()}, as its name says",
            hint="open it in TOPCAT; if it does not open there either, it is damaged",
        ) from None
    table.convert_bytestring_to_unicode()
    return _with_exact_texts(path, table, (*ID, id_column)) if kind == "ascii.csv" else table


def _with_exact_texts(path: Path, table: Table, ids: Sequence[str | None]) -> Table:
    """Columns of a CSV that look like whole numbers but lose their zeros in front, such as 0042, as text."""
    whole = [
        name for name in table.colnames if table[name].dtype.kind in "iu" and {name, name.lower()} & set(ids)
    ]
    if not whole:
        return table
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = [{name: row.get(name) for name in whole} for row in csv.DictReader(file)]
    for name in whole:
        texts = [(row[name] or "").strip() for row in rows]
        if len(texts) == len(table) and texts != _texts(table[name]):
            table[name] = texts
    return table


def _roles(path: Path, table: Table, options: SkyInput, label: str) -> dict[str, str]:
    """Role to column; a column that was named must be there."""
    usual = {"id": ID, "ra": RA, "dec": DEC, "path": FILE, "label": (label, *LABEL), "group": GROUP}
    lowered = {name.lower(): name for name in reversed(table.colnames)}
    found = {}
    for role, names in usual.items():
        named = getattr(options, f"{role}_column")
        if named is None:
            name = next((lowered[name.lower()] for name in names if name.lower() in lowered), None)
        else:
            name = named if named in table.colnames else lowered.get(named.lower())
            if name is None:
                raise _no_column(path, table, named, f"{role}_column")
        if name is not None:
            found[role] = name
    if ("ra" in found) != ("dec" in found):
        there, missing = ("ra", "dec") if "ra" in found else ("dec", "ra")
        raise _no_column(path, table, f"of the {missing} beside {found[there]}", f"{missing}_column")
    return found


def _no_column(path: Path, table: Table, name: str, option: str) -> DataError:
    more = f" and {len(table.colnames) - SHOWN} more" if len(table.colnames) > SHOWN else ""
    return DataError(
        f"the catalogue {path} has no column {name}",
        found=", ".join(table.colnames[:SHOWN]) + more,
        hint=f"name the right one with --{option.replace('_', '-')}",
    )


def _degrees(path: Path, column: Column, *, hours: bool) -> Floats:
    """Values in degrees, NaN where masked."""
    from astropy import units

    if column.dtype.kind not in "fiu":
        raise _not_degrees(path, column, f"text such as {str(column[0])!r}")
    filled: Any = column.filled(0) if hasattr(column, "filled") else column
    values = np.asarray(filled, dtype=np.float64)
    mask = np.asarray(getattr(column, "mask", False))
    unit, factor = column.unit, 1.0
    if unit is not None and str(unit).strip():
        as_hours = hours and str(unit).strip().lower() in HOURS
        try:
            factor = (units.hourangle if as_hours else units.Unit(str(unit))).to(units.deg)
        except (ValueError, TypeError, units.UnitsError):
            raise _not_degrees(path, column, f"the unit {unit}") from None
    return np.where(mask, np.nan, values * factor)


def _not_degrees(path: Path, column: Column, found: str) -> DataError:
    return DataError(
        f"the catalogue {path}: column {column.name} is no angle in degrees",
        found=found,
        expected="numbers in degrees, or a unit of angle",
        hint="convert the column, for instance in TOPCAT with hmsToRadians and radiansToDegrees",
    )


def _check_angles(path: Path, positions: Floats, names: dict[str, str]) -> None:
    """Where no row at all has a possible position, the unit is another one."""
    known = positions[np.isfinite(positions).all(axis=1)]
    possible = (known[:, 0] >= 0) & (known[:, 0] <= 360) & (np.abs(known[:, 1]) <= 90)
    if len(known) and not possible.any():
        raise DataError(
            f"the catalogue {path}: {names['ra']} and {names['dec']} are not in degrees",
            found=f"{known[0, 0]:g}, {known[0, 1]:g} in the first row",
            expected="0 to 360 and -90 to 90",
            hint="give the columns their unit, as ECSV and VOTable can, or name others with --ra-column",
        )


def look_like_hours(catalogue: Catalogue) -> bool:
    """Whether right ascensions without a unit could be hours."""
    if catalogue.positions is None or catalogue.has_unit:
        return False
    ra = catalogue.positions[np.isfinite(catalogue.positions).all(axis=1), 0]
    return bool(len(ra) and ra.min() >= 0.0 and ra.max() < HOURS_A_DAY)


def _texts(column: Column) -> list[str]:
    """A column as text: whole numbers without a point, masked and NaN as empty."""
    mask: Sequence[bool] = np.broadcast_to(np.asarray(getattr(column, "mask", False)), len(column)).tolist()
    filled: Any = column.filled() if hasattr(column, "filled") else column
    found = []
    for value, hidden in zip(np.asarray(filled).tolist(), mask, strict=True):
        whole = isinstance(value, float) and value.is_integer()
        missing = hidden or value is None or (isinstance(value, float) and np.isnan(value))
        found.append("" if missing else str(int(value) if whole else value).strip())
    return found
