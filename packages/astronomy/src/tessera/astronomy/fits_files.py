"""FITS files: their images by headers alone, and boxes of pixels read without loading the rest.

Plain images are mapped into memory and compressed ones (tiles, ``.fits.fz``) are unpacked tile by tile, so
that memory does not grow with the image. A file that is gzipped as a whole must be unpacked whole.
"""

from __future__ import annotations

import gzip
import io
import mmap
import re
import threading
import zlib
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from tessera.astronomy.geometry import Points, SkyGeometry, sky_to_pixels, wcs_cards
from tessera.core.errors import DataError

if TYPE_CHECKING:
    from astropy.io.fits import HDUList, Header
    from astropy.wcs import WCS

Values = npt.NDArray[np.float32]

SUFFIXES = (".fits", ".fit", ".fts", ".fits.fz", ".fits.gz", ".fit.gz")
BLOCK = 2880  # bytes of FITS' records
TYPES = {8: "u1", 16: ">i2", 32: ">i4", 64: ">i8", -32: ">f4", -64: ">f8"}
MAPPED_BYTES = 64 * 2**20  # let go of the mapped pages after about so many, so that they do not add up
FAULT_BYTES = 2**16  # Linux maps so many bytes around an address that is read
OPEN_FILES = 16


@dataclass(frozen=True)
class StoredImage:
    """An image as its header describes it.

    Args:
        hdu: Place in the file, the first is 0.
        name: EXTNAME, or empty.
        band: FILTER or BAND, or empty.
        shape: Sizes, the slowest axis first; leading axes of length 1 are left out. Empty: no data.
        cards: WCS cards of the two fastest axes.
        bitpix: Kind of the stored numbers.
        offset: Where they begin in the file, bytes.
        scale: BSCALE.
        zero: BZERO.
        blank: BLANK, for whole numbers.
        packed: Whether they are compressed in tiles.
    """

    hdu: int
    name: str
    band: str
    shape: tuple[int, ...]
    cards: tuple[str, ...]
    bitpix: int
    offset: int
    scale: float = 1.0
    zero: float = 0.0
    blank: int | None = None
    packed: bool = False

    @property
    def size(self) -> tuple[int, ...]:
        """Rows and columns."""
        return self.shape[-2:]

    @property
    def grid(self) -> SkyGeometry:
        """Its pixels and their place on the sky."""
        return SkyGeometry(self.size, self.cards)


def scan(path: Path) -> tuple[StoredImage, ...]:
    """The images of a file, by its headers alone; raises ``DataError`` for what is not a whole FITS file."""
    with _opened(path) as file:
        return tuple(_images(path, file))


def is_fits_table(path: Path) -> bool:
    """Whether a FITS file begins with a table and has no image before it; quick, and False when in doubt."""
    try:
        with _opened(path) as file:
            start = file.read(BLOCK)
            axes = re.search(rb"NAXIS   = +(\d+)", start)
            if not start.startswith(b"SIMPLE  =") or axes is None or axes[1] != b"0":
                return False
            file.seek(0)
            headers = [head for head, _, _ in _headers(path, file, most=2)]
    except DataError:
        return False
    return len(headers) == 2 and _is_table(headers[1]) and not headers[1].get("ZIMAGE", False)


class FitsFile:
    """An open file; safe to use from several threads.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.users = 0
        self._lock = threading.Lock()
        self._hdus: HDUList | None = None
        self._wcs: dict[int, tuple[WCS, float]] = {}
        self._touched = 0
        self._buffer: mmap.mmap | bytes = b""
        with _opened(path) as file:
            self.images = tuple(_images(path, file))
            if isinstance(file, io.BytesIO):
                self._buffer = file.getvalue()
            elif not all(image.packed for image in self.images):
                self._buffer = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def read(self, image: StoredImage, rows: slice, columns: slice, *, plane: int | None = None) -> Values:
        """A box (h, w), or (P, h, w) of a cube, in physical units; blank and infinite values are NaN.

        Args:
            image: Which image.
            rows: From where to where, within the image.
            columns: The same.
            plane: One plane of a cube; None: the image has none, or all are wanted.
        """
        place = (
            (rows, columns)
            if len(image.shape) == 2
            else (slice(None) if plane is None else plane, rows, columns)
        )
        values = self._packed(image, place) if image.packed else self._plain(image, place)
        if not is_finite(values):
            values[~np.isfinite(values)] = np.nan
        return values

    def stored(self, image: StoredImage, rows: slice, columns: slice) -> npt.NDArray[np.int64]:
        """A box of whole numbers as they are meant, for instance the bits of a mask."""
        place = (rows, columns) if len(image.shape) == 2 else (slice(None), rows, columns)
        if image.packed:
            return np.nan_to_num(self._section(image, place)).astype(np.int64)
        raw = self._array(image)[place]
        return (np.nan_to_num(raw) * image.scale + image.zero).astype(np.int64)

    def pixels(self, image: StoredImage, ra_deg: float, dec_deg: float) -> Points:
        """Index (row, column) of a position, NaN where there is none."""
        with self._lock:
            wcs, _ = self._solution(image)
            return sky_to_pixels(wcs, [[ra_deg, dec_deg]])[0]

    def pixel_scale_arcsec(self, image: StoredImage) -> float:
        """Side of a pixel at the reference point, arcsec."""
        with self._lock:
            return self._solution(image)[1]

    def close(self) -> None:
        """Let go of the file."""
        if isinstance(self._buffer, mmap.mmap):
            with suppress(BufferError):  # somebody still holds an array of it; it goes with that
                self._buffer.close()
        if self._hdus is not None:
            self._hdus.close()
            self._hdus = None

    def __del__(self) -> None:
        """A reader that is forgotten leaves no file open."""
        self.close()

    def _solution(self, image: StoredImage) -> tuple[WCS, float]:
        if image.hdu not in self._wcs:
            self._wcs[image.hdu] = image.grid.equatorial_wcs(), image.grid.pixel_scale_arcsec
        return self._wcs[image.hdu]

    def _plain(self, image: StoredImage, place: tuple[Any, ...]) -> Values:
        raw = self._array(image)[place]
        if (image.scale, image.zero) == (1.0, 0.0):
            with np.errstate(over="ignore"):  # becomes infinite, and so NaN
                values = raw.astype(np.float32)
        else:
            values = (raw * image.scale + image.zero).astype(np.float32)
        if image.blank is not None and image.bitpix > 0:
            values[raw == image.blank] = np.nan
        self._forget(raw)
        return values

    def _array(self, image: StoredImage) -> npt.NDArray[Any]:
        dtype = np.dtype(TYPES[image.bitpix])
        return np.ndarray(image.shape, dtype, buffer=self._buffer, offset=image.offset)

    def _forget(self, raw: npt.NDArray[Any]) -> None:
        """Pages of a mapped file count as memory of the process until it lets go of them."""
        rows = raw.size // max(1, raw.shape[-1])
        self._touched += max(raw.nbytes, rows * FAULT_BYTES)
        if self._touched > MAPPED_BYTES and isinstance(self._buffer, mmap.mmap):
            self._touched = 0
            if hasattr(mmap, "MADV_DONTNEED"):
                self._buffer.madvise(mmap.MADV_DONTNEED)

    def _packed(self, image: StoredImage, place: tuple[Any, ...]) -> Values:
        return np.array(self._section(image, place), dtype=np.float32)

    def _section(self, image: StoredImage, place: tuple[Any, ...]) -> npt.NDArray[Any]:
        from astropy.io import fits

        try:
            with self._lock:
                if self._hdus is None:
                    # not mapped: only the tiles asked for are read
                    self._hdus = fits.open(self.path, memmap=False, lazy_load_hdus=True)
                section = self._hdus[image.hdu].section
                leading = len(section.shape) - len(image.shape)
                return np.asarray(section[(0,) * leading + place])
        except Exception as error:  # the decompressors raise all kinds
            raise DataError(
                f"cannot unpack {self.path}",
                found=" ".join(str(error).split()),
                expected="tiles of a compressed image",
                hint="copy the file again, or unpack it with funpack to see whether it is damaged",
            ) from None


class OpenFiles:
    """Keeps the files used last open, for cut-outs of the same mosaic one after another.

    Args:
        most: So many stay open when nobody uses them.
    """

    def __init__(self, most: int = OPEN_FILES) -> None:
        self.most = most
        self._files: OrderedDict[tuple[Path, int, int], FitsFile] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, path: Path) -> FitsFile:
        """The open file; to be given back."""
        status = _status(path)
        key = (path, status[0], status[1])
        with self._lock:
            if key not in self._files:
                self._files[key] = FitsFile(path)
            file = self._files[key]
            file.users += 1
            self._files.move_to_end(key)
            self._close_oldest()
            return file

    def give_back(self, file: FitsFile) -> None:
        """Say that a file taken is no longer needed."""
        with self._lock:
            file.users -= 1
            self._close_oldest()

    def __reduce__(self) -> tuple[object, ...]:
        """Cross to another process without the files."""
        return OpenFiles, (self.most,)

    def _close_oldest(self) -> None:
        idle = [key for key, file in self._files.items() if not file.users]
        for key in idle[: max(0, len(self._files) - self.most)]:
            self._files.pop(key).close()


def is_finite(values: Values) -> bool:
    """Whether all values are surely finite; quick, and False for sums beyond float32 too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(values.sum()))


def not_readable(path: Path, found: object) -> DataError:
    """What to say of a file that is no image."""
    return DataError(
        f"cannot read {path}",
        found=found,
        expected="a FITS image",
        hint="open the file in another program; if it does not open there either, it is damaged",
    )


def _status(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError as error:
        problem = (
            f"there is no file {path}" if isinstance(error, FileNotFoundError) else f"cannot open {path}"
        )
        raise DataError(problem, found=error.strerror) from None
    return status.st_size, status.st_mtime_ns


def _opened(path: Path) -> BinaryIO:
    """The file, or its whole content where it is gzipped."""
    size, _ = _status(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder", expected="a FITS file")
    if size == 0:
        raise DataError(f"{path} is empty", found="0 bytes", expected="a FITS file")
    try:
        if path.name.lower().endswith(".gz"):
            return io.BytesIO(gzip.decompress(path.read_bytes()))
        return path.open("rb")
    except (OSError, EOFError, zlib.error) as error:
        raise not_readable(path, error) from None


def _images(path: Path, file: BinaryIO) -> Iterator[StoredImage]:
    for number, (header, offset, _) in enumerate(_headers(path, file)):
        packed = bool(header.get("ZIMAGE", False))
        if _is_table(header) and not packed:
            continue
        z = "Z" if packed else ""
        axes = int(header.get(f"{z}NAXIS", 0))
        shape = [int(header[f"{z}NAXIS{axis}"]) for axis in range(axes, 0, -1)]
        while len(shape) > 2 and shape[0] == 1:
            shape.pop(0)
        blank = header.get("BLANK")
        yield StoredImage(
            hdu=number,
            name=str(header.get("EXTNAME", "")).strip(),
            band=str(header.get("FILTER", header.get("BAND", ""))).strip(),
            shape=tuple(shape),
            cards=wcs_cards(header),
            bitpix=int(header[f"{z}BITPIX"]),
            offset=offset,
            scale=float(header.get("BSCALE", 1.0)),
            zero=float(header.get("BZERO", 0.0)),
            blank=blank if isinstance(blank, int) else None,
            packed=packed,
        )


def _headers(path: Path, file: BinaryIO, most: int | None = None) -> Iterator[tuple[Header, int, int]]:
    """Each HDU's header, and where its data begin and end, bytes; checks that they are all there."""
    from astropy.io.fits import Header

    if file.read(9) != b"SIMPLE  =":
        raise not_readable(path, "it does not begin like a FITS file")
    end = file.seek(0, io.SEEK_END)
    place, count = 0, 0
    while place < end and (most is None or count < most):
        file.seek(place)
        if count and file.read(8) != b"XTENSION":  # special records after the last unit
            return
        file.seek(place)
        try:
            header = Header.fromfile(file)
            start = file.tell()
            n_bytes = _data_bytes(header)
        except (OSError, EOFError, ValueError, KeyError, TypeError) as error:
            raise _ends_early(path, " ".join(str(error).split()), "a whole header") from None
        if start + n_bytes > end:
            raise _ends_early(path, f"{end} bytes", f"{start + n_bytes} bytes")
        yield header, start, start + n_bytes
        place = start + -(-n_bytes // BLOCK) * BLOCK
        count += 1


def _ends_early(path: Path, found: object, expected: str) -> DataError:
    return DataError(
        f"{path} ends early",
        found=found,
        expected=f"{expected}, as its headers say",
        hint="copy or download the file again",
    )


def _data_bytes(header: Header) -> int:
    """Size of an HDU's data (FITS standard 4.0, section 4.4.1.2), without what fills the last record."""
    sizes = [int(header[f"NAXIS{axis}"]) for axis in range(1, int(header["NAXIS"]) + 1)]
    if not sizes:
        return 0
    elements = prod(sizes) + int(header.get("PCOUNT", 0))
    return abs(int(header["BITPIX"])) // 8 * int(header.get("GCOUNT", 1)) * elements


def _is_table(header: Header) -> bool:
    return str(header.get("XTENSION", "")).strip() in ("BINTABLE", "TABLE")
