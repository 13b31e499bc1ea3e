"""Maps of the cosmic matter density: rows of an NPZ file of rendered maps, or one FITS file a map.

An NPZ file holds ``field`` (N, H, W), bytes on a logarithmic scale from half the mean density to a thousand
times it: log10(rho / mean) = log10(0.5) + v / 255 (3 - log10(0.5)). Zero means half the mean density or less.
A FITS file holds one map (H, W), whose values are taken as stored.
"""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Pixels
from tessera.core.data.walk import walk_files
from tessera.core.errors import DataError
from tessera.core.run_config import RunConfig

Image = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

ROLE = "image"
FIELD, NUMBERS = "field", "sim_id"  # arrays of an NPZ file
LOWEST = float(np.log10(0.5))  # log10(rho / mean) of byte 0
HIGHEST = 3.0  # of byte 255
NPZ_SUFFIX = ".npz"
FITS_SUFFIXES = (".fits", ".fit", ".fits.gz")
SUFFIXES = (NPZ_SUFFIX, *FITS_SUFFIXES)


def log_density(values: Bytes) -> Image:
    """log10(rho / mean) of bytes of any shape."""
    return (LOWEST + values.astype(np.float32) * np.float32((HIGHEST - LOWEST) / 255)).astype(np.float32)


def read_maps(path: Path) -> Bytes:
    """All maps (N, H, W) of an NPZ file, as bytes."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            maps: Bytes = arrays[FIELD]
    except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(
            f"cannot read {path}",
            found=" ".join(str(error).split()),
            expected=f"an NPZ file with an array '{FIELD}' of maps",
        ) from None
    if maps.ndim != 3 or maps.dtype != np.uint8 or 0 in maps.shape:
        raise DataError(
            f"{path} holds no maps",
            found=f"{maps.dtype} {maps.shape}",
            expected="bytes: maps, rows, columns",
        )
    return maps


def read_fits_map(path: Path) -> Image:
    """The one map (1, H, W) of a FITS file, values as stored."""
    from astropy.io import fits

    try:
        with fits.open(path, memmap=False) as units:
            images = [unit.data for unit in units if unit.is_image and unit.data is not None]
    except (OSError, ValueError, TypeError, EOFError) as error:
        raise DataError(
            f"cannot read {path}", found=" ".join(str(error).split()), expected="a FITS file with one map"
        ) from None
    if len(images) != 1 or np.squeeze(images[0]).ndim != 2:
        raise DataError(
            f"{path} holds no single map",
            found=", ".join(str(image.shape) for image in images) or "no image",
            expected="one image of rows and columns",
        )
    return np.squeeze(images[0]).astype(np.float32)[None]


class DensityReader:
    """Finds and opens density maps; the maps of the NPZ file opened last stay in memory.

    Args:
        config: The run's; not needed.
    """

    def __init__(self, config: RunConfig | None = None) -> None:
        del config
        self._kept: tuple[tuple[Path, int, int], Bytes] | None = None

    def find(self, path: Path) -> list[Case]:
        """One case a row of an NPZ file, one a FITS file, in a folder or the one file; sorted by id."""
        path = Path(path)
        if not path.exists():
            raise DataError(f"there is no file or folder {path}", hint="check the spelling of the path")
        root, files = (path.parent, [path]) if path.is_file() else (path, list(walk_files(path)))
        cases: list[Case] = []
        for file in files:
            name = file.relative_to(root).as_posix()
            if file.name.lower().endswith(NPZ_SUFFIX):
                cases += self._rows(file, name.removesuffix(NPZ_SUFFIX))
            elif file.name.lower().endswith(FITS_SUFFIXES):
                cases.append(Case(id=name, files={ROLE: FileRef(path=file)}, group=file.name.split(".")[0]))
        if not cases:
            raise DataError(
                f"no density maps in {path}",
                found=f"{len(files)} other files",
                expected=f"files ending in {', '.join(SUFFIXES)}",
            )
        return sorted(cases, key=lambda case: case.id)

    def open(self, case: Case) -> ArraySource:
        """The map (1, H, W): log10(rho / mean) of an NPZ file's row, values as stored of a FITS file."""
        path = case.path(ROLE)
        if not path.name.lower().endswith(NPZ_SUFFIX):
            image = read_fits_map(path)
            return ArraySource(image, Pixels(image.shape[1:]))
        maps = self._maps(path)
        row = case.select.get("row")
        if not isinstance(row, int) or not 0 <= row < len(maps):
            raise DataError(
                f"case {case.id}: there is no such map in {path}",
                found=f"row {row}",
                expected=f"a whole number from 0 to {len(maps) - 1}",
            )
        image = log_density(maps[row])[None]
        return ArraySource(image, Pixels(image.shape[1:]))

    def _rows(self, path: Path, name: str) -> list[Case]:
        numbers: Sequence[int] = range(len(self._maps(path)))
        with np.load(path, allow_pickle=False) as arrays:
            if NUMBERS in arrays.files:
                numbers = [int(number) for number in arrays[NUMBERS]]
        files: dict[str, FileRef | tuple[FileRef, ...]] = {ROLE: FileRef(path=path)}
        return [
            Case(id=f"{name}/{number:04d}", files=files, select={"row": row}, group=f"{number:04d}")
            for row, number in enumerate(numbers)
        ]

    def _maps(self, path: Path) -> Bytes:
        facts = path.stat() if path.is_file() else None
        key = (path, 0, 0) if facts is None else (path, facts.st_mtime_ns, facts.st_size)
        if self._kept is None or self._kept[0] != key:
            self._kept = (key, read_maps(path))
        return self._kept[1]
