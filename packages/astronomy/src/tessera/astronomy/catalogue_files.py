"""Writes a table in the formats of catalogues; each appears whole or not at all."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tessera.astronomy.output_config import Format
from tessera.astronomy.parquet import write_parquet
from tessera.core.data.atomic import replacing

if TYPE_CHECKING:
    from astropy.table import Table

NAMES: dict[Format, str] = {
    "fits": "catalogue.fits",
    "csv": "catalogue.csv",
    "votable": "catalogue.vot",
    "parquet": "catalogue.parquet",
}
_ASTROPY = {"fits": "fits", "csv": "ascii.csv", "votable": "votable"}

_log = logging.getLogger(__name__)


def write_catalogue(table: Table, out: Path, formats: Sequence[Format]) -> tuple[str, ...]:
    """Write ``catalogue.*`` below ``out``; gives the names. Those of formats not asked for are removed."""
    from astropy.utils.exceptions import AstropyWarning

    for name in NAMES.values():
        (out / name).unlink(missing_ok=True)  # of an earlier run with other options
    names = []
    for kind in formats:
        names.append(NAMES[kind])
        with replacing(out / NAMES[kind]) as temporary, warnings.catch_warnings():
            # of units that a format has no name for; they are kept as comments
            warnings.simplefilter("ignore", AstropyWarning)
            fitting = _fitting(table, kind)
            if kind == "parquet":
                write_parquet(fitting, temporary)
            else:
                fitting.write(temporary, format=_ASTROPY[kind])
    return tuple(names)


def _fitting(table: Table, kind: Format) -> Table:
    """The table with the columns that a format can hold, and without what else the input file said."""
    found = table.copy()
    found.meta.clear()
    for name in found.colnames:
        column = found[name]
        if column.dtype.kind == "O":
            texts = ["" if value is None or value is np.ma.masked else str(value) for value in column]
            found[name] = np.array(texts, dtype=np.str_)
        if found[name].dtype.kind == "U" and kind == "fits":  # a column of FITS holds ASCII
            found[name] = np.char.encode(np.asarray(found[name]), "ascii", "backslashreplace")
        elif len(column.shape) > 1 and kind in ("csv", "parquet"):
            _log.warning("column %s holds several values a row, which %s cannot; left out", name, NAMES[kind])
            found.remove_column(name)
    return found
