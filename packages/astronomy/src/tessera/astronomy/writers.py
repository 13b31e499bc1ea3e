"""Tables of a prediction on images of the sky, and maps as FITS with the image's WCS.

``predictions.csv``, one row an image with a result, sorted by case_id:
    case_id, group (of the case); target (what is known, empty where nothing is; target_<name> of several
    numbers); the answer; ra_deg, dec_deg (of the catalogue, else of the image's middle; empty without WCS);
    flags (joined by ``|``, for instance ``non-photometric``).
``catalogue.fits`` and ``catalogue.csv`` (or .vot, .parquet), one row an object of the input's catalogue, in
its order and with all its columns, then
    the answer; status (ok, suspicious, empty, failed, skipped, pending); flags; reason (why there is no
    result, or what else a person should know).
Where the input was a folder: id, path, ra_deg and dec_deg stand for the catalogue's columns. A column of the
catalogue that has the name of one of ours keeps it; ours is then called ``tessera_<name>``.

``heatmaps/<case>.fits``: what in an image speaks for the last class, on the image's grid and with its WCS; by
default of the images whose answer is that class.

The answer has the columns
    for a class: answer, score (its probability), p_<class> of each class;
    for tags: answer (those that reach their threshold, joined by ``|``), p_<tag> of each tag;
    for a number: mean, std; for several: mean_<name> and std_<name> of each.
"""

from __future__ import annotations

import csv
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tessera.astronomy.catalogue_files import write_catalogue
from tessera.astronomy.catalogues import read_table, row_names
from tessera.astronomy.geometry import SkyGeometry
from tessera.astronomy.heat_maps import CASE, CLASS, FOLDER, METHOD, SCORE, map_rule, on_image
from tessera.astronomy.output_config import SkyOutput
from tessera.astronomy.rows import CATALOGUE, DEC, ID_COLUMN, NAME, RA, ROW
from tessera.core.bundle.card import FALLBACK_THRESHOLD, Calibration
from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case
from tessera.core.data.targets import TAG_SEPARATOR, TargetSpec, class_columns
from tessera.core.errors import DataError, TesseraError
from tessera.core.inference.interfaces import CaseResult, Outcome, Written

if TYPE_CHECKING:
    from astropy.table import Table

    from tessera.core.data.geometry import Geometry
    from tessera.core.inference.extras import MapRule
    from tessera.core.run_config import RunConfig

ROWS = "predictions"  # the writer's name for rows in the ledger
PREDICTIONS = "predictions.csv"
LINE_END = "\r\n"  # makes the csv writer quote both characters inside a name, so that any name reads back
OWN = "tessera_"

_log = logging.getLogger(__name__)


class SkyWriter:
    """Writes the tables and files that this module's first lines describe."""

    def __init__(
        self,
        config: RunConfig,
        target: TargetSpec,
        *,
        options: SkyOutput | None = None,
        calibration: Calibration | None = None,
        model_digest: str = "",
    ) -> None:
        del model_digest  # for formats that name the model; catalogues do not
        self.options = options or SkyOutput()
        self.target_name = config.data.target
        self.target = target
        self._thresholds = (calibration or Calibration()).thresholds
        self.answer_columns = _answer_columns(target)
        many = target.kind == "numbers"
        self._target_columns = tuple(f"target_{name}" for name in target.classes) if many else ("target",)
        self.columns = ("case_id", "group", *self._target_columns, *self.answer_columns, RA, DEC, "flags")
        self._rule = map_rule(self.options, target, side_px=getattr(config.data, "size_px", None))

    @property
    def explained(self) -> MapRule | None:
        """The last class, unless no heat maps are wanted."""
        return self._rule

    def write(self, result: CaseResult, out: Path) -> Written:
        """The row of one image, and its heat map."""
        case = result.case
        cells = (
            case.id,
            case.group,
            *self._known(case),
            *self._answer(result.summary),
            *_position(result),
            TAG_SEPARATOR.join(result.flags),
        )
        row = dict(zip(self.columns, cells, strict=True))
        return Written(files=self._heat_map(result, out), rows={ROWS: [row]})

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write ``predictions.csv`` in one pass."""
        with (
            replacing(out / PREDICTIONS) as temporary,
            # a file name, and so an id, need not be valid Unicode
            temporary.open("w", encoding="utf-8", errors="backslashreplace", newline="") as text,
        ):
            table = csv.writer(text, lineterminator=LINE_END)
            table.writerow(self.columns)
            for _, written in cases:
                for row in written.rows[ROWS]:
                    table.writerow(row[column] for column in self.columns)
        return (PREDICTIONS,)

    def collect_outcomes(self, outcomes: Iterator[Outcome], out: Path) -> tuple[str, ...]:
        """Write the catalogue with all rows, those without a result among them."""
        found = list(outcomes)
        table = _catalogue_of(found)
        if table is None:
            ordered, table = found, _plain_table(found)
        else:
            ordered, table = _in_catalogue(found, table)
        for name, values in self._own_columns(ordered).items():
            table[_free(name, table)] = values
        return write_catalogue(table, out, self.options.formats)

    def _heat_map(self, result: CaseResult, out: Path) -> tuple[str, ...]:
        positive = len(self.target.classes) - 1
        wanted = self.options.heat_maps == "all" or int(np.argmax(result.summary)) == positive
        if result.maps is None or self._rule is None or not wanted:
            return ()
        name = f"{FOLDER}/{output_name(result.case.id)}.fits"
        grid = _on_the_sky(result.grid)
        keywords = {
            METHOD: self.options.heat_map_method,
            CLASS: (_ascii(self.target.classes[positive]), "whose log-odds are explained"),
            SCORE: (float(result.summary[positive]), "probability of that class"),
            CASE: _ascii(result.case.id),
        }
        write_heat_map(out / name, on_image(result.maps[0], grid.size), grid, keywords=keywords)
        return (name,)

    def _own_columns(self, outcomes: Sequence[Outcome]) -> dict[str, Any]:
        from astropy.table import MaskedColumn

        rows: list[Mapping[str, Any]] = [next(iter(o.written.rows.get(ROWS, ())), {}) for o in outcomes]
        columns: dict[str, Any] = {}
        plain = self.answer_columns
        for name, column in zip(self.answer_columns, _plain_names(self.target, plain), strict=True):
            texts = [row.get(name, "") for row in rows]
            if name == "answer":
                columns[column] = _strings(texts)
                continue
            values = np.array([float(text or "nan") for text in texts])
            columns[column] = MaskedColumn(values, mask=np.isnan(values))
        columns["status"] = _strings([outcome.status for outcome in outcomes])
        columns["flags"] = _strings([row.get("flags", "") for row in rows])
        columns["reason"] = _strings([outcome.reason for outcome in outcomes])
        return columns

    def _known(self, case: Case) -> tuple[str, ...]:
        value: Any = case.targets.get(self.target_name, "")
        if self.target.kind == "numbers":
            many = value if isinstance(value, tuple | list) else [""] * len(self._target_columns)
            return tuple(str(one) for one in many)
        return (TAG_SEPARATOR.join(map(str, value)) if isinstance(value, tuple | list) else str(value),)

    def _answer(self, summary: npt.NDArray[Any]) -> tuple[str, ...]:
        values = summary.tolist()
        if self.target.is_measured:
            means, log_variances = np.split(summary.astype(np.float64), 2)
            pairs = zip(means.tolist(), np.exp(0.5 * log_variances).tolist(), strict=True)
            return tuple(_number(value) for pair in pairs for value in pair)
        texts = [_number(p) for p in values]
        if self.target.kind == "class":
            best = int(np.argmax(summary))
            return (self.target.classes[best], texts[best], *texts)
        tags = [
            tag
            for tag, p in zip(self.target.classes, values, strict=True)
            if p >= self._thresholds.get(tag, FALLBACK_THRESHOLD)
        ]
        return (TAG_SEPARATOR.join(tags), *texts)


def write_heat_map(
    path: Path,
    values: npt.ArrayLike,
    geometry: SkyGeometry,
    *,
    keywords: Mapping[str, str | int | float | tuple[str | int | float, str]] | None = None,
) -> None:
    """Write a map (H, W) as FITS with the WCS of its grid, whole or not at all; the same map, the same bytes.

    Args:
        path: Usually ``heatmaps/<output_name>.fits``.
        values: One value a pixel of ``geometry``; becomes float32.
        geometry: The grid: of the cut-out, or of it resampled. Its cards are kept bit for bit where the
            grid is the whole source image.
        keywords: Further cards: value, or value and comment.
    """
    from astropy.io import fits

    array = np.asarray(values, dtype=np.float32)
    if array.shape != geometry.size:
        raise ValueError(f"a map of {array.shape} for a grid of {geometry.size} pixels; resample the grid")
    header = geometry.header()
    for name, value in (keywords or {}).items():
        header[name] = value
    with replacing(path) as temporary:
        fits.PrimaryHDU(array, header=header).writeto(temporary, output_verify="silentfix")


def output_name(case_id: str) -> str:
    """A file name for a case on any system; ids that differ in other characters alone get a hash."""
    import hashlib

    readable = re.sub(r"[^A-Za-z0-9.+-]+", "_", case_id)[:80].strip("._")
    digest = hashlib.sha256(case_id.encode("utf-8", "surrogateescape")).hexdigest()
    # systems that ignore the case of letters would take a for A
    return case_id if readable == case_id and case_id == case_id.lower() else f"{readable}-{digest[:12]}"


def _answer_columns(target: TargetSpec) -> tuple[str, ...]:
    if target.kind == "mask":
        raise DataError("images of the sky are not segmented here", found="a target of masks")
    if target.kind == "number":
        return ("mean", "std")
    if target.kind == "numbers":
        return tuple(f"{part}_{name}" for name in target.classes for part in ("mean", "std"))
    head = ("answer", "score") if target.kind == "class" else ("answer",)
    return (*head, *(f"p_{name}" for name in target.classes))


def _plain_names(target: TargetSpec, columns: Sequence[str]) -> list[str]:
    """The answer's columns with letters, digits and _ alone, as tables of all formats take them."""
    plain = dict(zip(target.classes, class_columns(target.classes), strict=True))
    names = {f"{part}_{name}": f"{part}_{plain[name]}" for name in plain for part in ("p", "mean", "std")}
    return [names.get(column, column) for column in columns]


def _position(result: CaseResult) -> tuple[str, str]:
    meta = result.case.meta
    if RA in meta and DEC in meta:
        return meta[RA], meta[DEC]
    if not isinstance(result.grid, SkyGeometry):  # a map of a simulation has no place on the sky
        return "", ""
    try:
        ra, dec = result.grid.centre_deg
    except DataError:
        return "", ""
    return f"{ra:.8f}", f"{dec:.8f}"  # 0.00004 arcsec


def _on_the_sky(grid: Geometry) -> SkyGeometry:
    if not isinstance(grid, SkyGeometry):
        raise TypeError(f"images of the sky need a SkyGeometry, not {type(grid).__name__}")
    return grid


def _ascii(text: str) -> str:
    """As a FITS header takes it."""
    return text.encode("ascii", "backslashreplace").decode()


def _catalogue_of(outcomes: Sequence[Outcome]) -> Table | None:
    """The catalogue that the cases are rows of; None where there is none, or it can no longer be read."""
    paths = {outcome.case.meta.get(CATALOGUE, "") for outcome in outcomes}
    if len(paths) != 1 or "" in paths:
        if len(paths) > 1:
            _log.warning("the cases are of several inputs; catalogue has only their ids and positions")
        return None
    try:
        return read_table(Path(paths.pop()), id_column=outcomes[0].case.meta.get(ID_COLUMN))
    except TesseraError as error:
        _log.warning("catalogue has only ids and positions: %s", error.one_line())
        return None


def _in_catalogue(outcomes: Sequence[Outcome], table: Table) -> tuple[list[Outcome], Table]:
    """The outcomes of its rows, in its order; rows that were not asked for are left out."""
    names = row_names(table, next((o.case.meta.get(ID_COLUMN, "") for o in outcomes), ""))
    placed: dict[int, Outcome] = {}
    for outcome in outcomes:
        meta = outcome.case.meta
        row = int(meta[ROW])
        if row < len(names) and names[row] == meta[NAME]:
            placed[row] = outcome
        else:  # of an earlier catalogue in the same folder
            _log.warning("case %s is not in the catalogue; it is in %s", outcome.case.id, PREDICTIONS)
    rows = sorted(placed)
    return [placed[row] for row in rows], table[rows]


def _plain_table(outcomes: Sequence[Outcome]) -> Table:
    from astropy.table import MaskedColumn, Table

    found = Table({"id": _strings([o.case.id for o in outcomes])})
    paths = ([str(ref.path) for ref in o.case.all_files() if ref.path is not None] for o in outcomes)
    found["path"] = _strings([TAG_SEPARATOR.join(one) for one in paths])
    for name in (RA, DEC):
        rows: list[Mapping[str, Any]] = [next(iter(o.written.rows.get(ROWS, ())), {}) for o in outcomes]
        texts = [row.get(name) or o.case.meta.get(name, "") for row, o in zip(rows, outcomes, strict=True)]
        values = np.array([float(text or "nan") for text in texts])
        found[name] = MaskedColumn(values, mask=np.isnan(values), unit="deg")
    return found


def _free(name: str, table: Table) -> str:
    taken = {column.lower() for column in table.colnames}
    while name.lower() in taken:
        name = OWN + name
    return name


def _strings(texts: Sequence[str]) -> npt.NDArray[np.str_]:
    clean = [text.encode("utf-8", "backslashreplace").decode() for text in texts]
    return np.array(clean, dtype=np.str_) if clean else np.array([], dtype="U1")


def _number(value: float) -> str:
    return f"{value:.9g}"  # 9 digits hold a float32
