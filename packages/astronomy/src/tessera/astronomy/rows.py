"""Ties the rows of a catalogue to pixels: by path, by a file named as the id, or by position on a mosaic."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tessera.astronomy.catalogues import HOURS_A_DAY, Catalogue, Floats, look_like_hours
from tessera.astronomy.image_files import ImageFiles, Mosaics, find_images, unit_vectors
from tessera.core.data.case import Case, FileRef
from tessera.core.errors import DataError

if TYPE_CHECKING:
    from tessera.astronomy.input_config import SkyInput

IMAGE = "image"  # role of the files
CATALOGUE, ROW, ID_COLUMN, NAME, PROBLEM = "catalogue", "row", "id_column", "name", "problem"  # of meta
RA, DEC = "ra_deg", "dec_deg"  # of meta; of select too, where a cut-out is made there
DEGREES_AN_HOUR = 15.0

Tie = tuple[tuple[Path, ...], dict[str, Any], str]
"""Files, what to select in them, and what is wrong."""


def catalogue_cases(
    catalogue: Catalogue, options: SkyInput, *, side_px: int, target: str, chosen: Mapping[str, Any]
) -> list[Case]:
    """One case a row, in the catalogue's order; ``meta`` says which row, and what is wrong with it.

    Args:
        catalogue: The rows.
        options: Where images are and how large cut-outs.
        side_px: Of a cut-out where the options do not say.
        target: Name of the target that labels are of.
        chosen: Selected in every case.
    """
    ties = _ties(catalogue, options, side_px)
    problems = catalogue.problems()
    groups, labels = catalogue.texts("group"), catalogue.texts("label")
    origin = {CATALOGUE: str(catalogue.path), ID_COLUMN: catalogue.names.get("id", "")}
    cases, taken = [], set(catalogue.ids)
    for row, (name, (files, select, problem)) in enumerate(zip(catalogue.ids, ties, strict=True)):
        problem = problems[row] or problem  # noqa: PLW2901
        meta = {**origin, ROW: str(row), NAME: name}
        if not catalogue.position_problem(row) and catalogue.positions is not None:
            ra, dec = catalogue.positions[row].tolist()
            meta |= {RA: repr(ra), DEC: repr(dec)}
        if problem:
            meta[PROBLEM] = problem
        own = name if name and not problems[row] else _free_name(name, row, taken)
        cases.append(
            Case(
                id=own,
                files={} if problem else {IMAGE: references(files)},
                select={**chosen, **select},
                targets={target: labels[row]} if labels[row] else {},
                group=groups[row] or own,
                meta=meta,
            )
        )
    return cases


def _free_name(name: str, row: int, taken: set[str]) -> str:
    found = f"{name} (row {row + 1})" if name else f"row{row + 1:06d}"
    while found in taken:
        found += "'"
    taken.add(found)
    return found


def _ties(catalogue: Catalogue, options: SkyInput, side_px: int) -> list[Tie]:
    paths = catalogue.texts("path")
    if options.images is None and not any(paths):
        raise DataError(
            f"the catalogue {catalogue.path} does not say where its pixels are",
            found=f"columns {', '.join(catalogue.table.colnames[:20])}",
            expected="a column of paths, or a folder of images",
            hint="give --images FOLDER, or name the column with --path-column",
        )
    images = [] if options.images is None else _images(options)
    stems = _by_stem(images)
    sized = _size(options)
    ties: list[Tie | None] = []
    for row, (name, path) in enumerate(zip(catalogue.ids, paths, strict=True)):
        if path:
            problem = catalogue.position_problem(row) if sized else ""
            select = {} if problem or not sized else {**_position(catalogue, row), **sized}
            ties.append(((_path(path, catalogue.path, options.images),), select, problem))
        elif found := stems.get(name):
            same = len(found) > 1
            problem = (
                f"{len(found)} images are called {name}: {found[0].name}, {found[1].name}" if same else ""
            )
            ties.append((found[0].files, {}, problem))
        else:
            ties.append(None)
    lost = [row for row, tie in enumerate(ties) if tie is None]
    if lost:
        names = set(catalogue.ids)
        mosaics = Mosaics([image for image in images if image.stem not in names], options)
        for row, tie in zip(lost, _by_position(catalogue, lost, mosaics, side_px, sized), strict=True):
            ties[row] = tie
    return [tie for tie in ties if tie is not None]


def _by_position(
    catalogue: Catalogue, rows: Sequence[int], mosaics: Mosaics, side_px: int, sized: Mapping[str, Any]
) -> list[Tie]:
    problems = {row: catalogue.position_problem(row) for row in rows}
    placed = [row for row in rows if not problems[row]]
    numbers: dict[int, int] = {}
    if placed and catalogue.positions is not None and mosaics.footprints:
        positions = catalogue.positions[placed]
        found, _ = mosaics.place(positions, side_px=side_px)
        if (found < 0).all() and look_like_hours(catalogue):
            _refuse_hours(catalogue, mosaics, positions, side_px)
        numbers = dict(zip(placed, found.tolist(), strict=True))
    ties: list[Tie] = []
    for row in rows:
        number = numbers.get(row, -1)
        if number < 0:
            ties.append(((), {}, _why_no_image(catalogue, row, mosaics, problems[row])))
            continue
        size = sized or {"size_px": side_px}
        ties.append((mosaics.footprints[number].image.files, {**_position(catalogue, row), **size}, ""))
    return ties


def _why_no_image(catalogue: Catalogue, row: int, mosaics: Mosaics, problem: str) -> str:
    name = catalogue.ids[row]
    head = f"there is no image called {name}"
    if problem:
        return f"{head}, and {problem}"
    if not mosaics.footprints:
        more = f" ({mosaics.unusable[0]})" if mosaics.unusable else ""
        return f"{head}, and no image with a WCS to cut it from{more}"
    assert catalogue.positions is not None
    position = catalogue.positions[[row]]
    cosines = [float((unit_vectors(position) @ f.centre)[0]) for f in mosaics.footprints]
    nearest = int(np.argmax(cosines))
    apart = float(np.degrees(np.arccos(np.clip(cosines[nearest], -1, 1))))
    ra, dec = position[0].tolist()
    left = f"; {len(mosaics.unusable)} images could not be used" if mosaics.unusable else ""
    return (
        f"the position {ra:.6f}, {dec:+.6f} is outside every image; the middle of the nearest, "
        f"{mosaics.footprints[nearest].image.name}, is {apart:.4g} degrees away{left}"
    )


def _refuse_hours(catalogue: Catalogue, mosaics: Mosaics, positions: Floats, side_px: int) -> None:
    turned = positions * [DEGREES_AN_HOUR, 1.0]
    found, _ = mosaics.place(turned, side_px=side_px)
    hits = int((found >= 0).sum())
    if hits:
        raise DataError(
            f"the catalogue {catalogue.path}: {catalogue.names['ra']} seems to be in hours",
            found=f"values below {HOURS_A_DAY:g}; no position is on an image; as hours, {hits} are",
            expected="degrees, or a unit of angle",
            hint="multiply the column by 15, or give it the unit hourangle",
        )


def _images(options: SkyInput) -> list[ImageFiles]:
    assert options.images is not None
    return find_images(options.images, bands=options.bands if options.one_file_a_band else ())


def _by_stem(images: Sequence[ImageFiles]) -> dict[str, list[ImageFiles]]:
    found: dict[str, list[ImageFiles]] = {}
    for image in images:
        found.setdefault(image.stem, []).append(image)
    return found


def _path(text: str, catalogue: Path, images: Path | None) -> Path:
    """Below the catalogue's folder, or below ``images``."""
    beside = catalogue.parent / text
    if images is None or images.is_file() or beside.is_file():
        return beside
    return images / text


def _position(catalogue: Catalogue, row: int) -> dict[str, float]:
    assert catalogue.positions is not None
    ra, dec = catalogue.positions[row].tolist()
    return {RA: ra, DEC: dec}


def _size(options: SkyInput) -> dict[str, Any]:
    sizes = {"size_px": options.size_px, "size_arcsec": options.size_arcsec}
    return {name: value for name, value in sizes.items() if value is not None}


def references(files: Sequence[Path]) -> FileRef | tuple[FileRef, ...]:
    """One reference, or one a band."""
    found = tuple(FileRef(path=file) for file in files)
    return found if len(found) > 1 else found[0]
