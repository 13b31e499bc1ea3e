"""Tables as Parquet with pyarrow alone; units and descriptions are kept with each column."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from astropy.table import Table

UNIT, DESCRIPTION = b"unit", b"description"


def read_parquet(path: Path) -> Table:
    """A table; what is null is masked, texts are texts, and lists are Python's."""
    import pyarrow.parquet
    from astropy.table import MaskedColumn, Table

    stored = pyarrow.parquet.read_table(path)
    found = Table()
    for field, column in zip(stored.schema, stored.columns, strict=True):
        values, mask = _values(column)
        said = field.metadata or {}
        texts = {key.decode(): said[key].decode() for key in (UNIT, DESCRIPTION) if key in said}
        found[field.name] = MaskedColumn(values, mask=mask, **texts) if mask.any() else values
        found[field.name].unit = texts.get("unit")
        found[field.name].description = texts.get("description")
    return found


def write_parquet(table: Table, path: Path) -> None:
    """A table whose columns hold one value a row; what is masked becomes null."""
    import pyarrow
    import pyarrow.parquet

    fields, columns = [], []
    for name in table.colnames:
        column = table[name]
        mask = np.broadcast_to(np.asarray(getattr(column, "mask", False)), len(column))
        values = np.asarray(column.filled() if hasattr(column, "filled") else column)
        values = values.astype(values.dtype.newbyteorder("="))
        plain: Any = values.tolist() if values.dtype.kind in "SUO" else values
        array = pyarrow.array(plain, mask=mask.copy())
        said = {UNIT: column.unit and str(column.unit), DESCRIPTION: column.description}
        metadata = {key: str(text) for key, text in said.items() if text}
        fields.append(pyarrow.field(name, array.type, metadata=metadata or None))
        columns.append(array)
    stored = pyarrow.Table.from_arrays(columns, schema=pyarrow.schema(fields))
    pyarrow.parquet.write_table(stored, path)


def _values(column: Any) -> tuple[Any, Any]:
    """Values of a column of pyarrow, and where they are null."""
    import pyarrow

    mask = np.array(column.is_null().to_pylist(), dtype=bool)
    kind = column.type
    if (
        pyarrow.types.is_string(kind)
        or pyarrow.types.is_large_string(kind)
        or pyarrow.types.is_dictionary(kind)
    ):
        texts = ["" if value is None else str(value) for value in column.to_pylist()]
        return np.array(texts, dtype=np.str_), mask
    if mask.any() and (pyarrow.types.is_integer(kind) or pyarrow.types.is_boolean(kind)):
        column = column.fill_null(False if pyarrow.types.is_boolean(kind) else 0)
    return column.to_numpy(), mask
