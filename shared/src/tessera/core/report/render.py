"""A page as one HTML text: style, script, pictures and sound inside, nothing loaded from elsewhere."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files

from tessera.core.report.page import Cell, Page, Table
from tessera.core.report.stored import count, show_number


def render(page: Page, *, folder: str) -> str:
    """The page; ``folder`` is the name of the folder with its CSV files."""
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=PackageLoader("tessera.core.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "base64": lambda data: base64.b64encode(data).decode("ascii"),
        "figure_text": _figure_text,
        "is_numeric": _is_numeric,
        "picture_type": lambda data: "image/png" if data.startswith(b"\x89PNG") else "image/jpeg",
        "inline_svg": Markup,  # made by figures.py, where matplotlib escapes every text
    }
    script = _template("report.js") + _template("gallery.js")
    return environment.get_template("report.html.j2").render(
        page=page,
        folder=folder,
        style=Markup(_template("report.css") + _template("gallery.css")),
        script=Markup(script),
        # The page allows this script and no other, whatever a name in a table contains.
        script_digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode("ascii"),
        version=_version(),
    )


def to_csv(table: Table) -> str:
    """The table as CSV, numbers with every digit."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(table.columns)
    writer.writerows(["" if cell is None else cell for cell in row] for row in table.rows)
    return text.getvalue()


def _template(name: str) -> str:
    return files("tessera.core.report").joinpath("templates", name).read_text(encoding="utf-8")


def _figure_text(value: float) -> str:
    return count(value) if isinstance(value, int) else show_number(value)


def _is_numeric(table: Table, column: str) -> bool:
    cells: list[Cell] = [cell for cell in table.column(column) if cell is not None]
    return bool(cells) and not any(isinstance(cell, str) for cell in cells)


def _version() -> str:
    try:
        return version("tessera-core")
    except PackageNotFoundError:
        return ""
