"""JPEG and PNG pictures as a second-class input: already stretched for the eye, so not photometric."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from tessera.core.errors import DataError

SUFFIXES = (".jpg", ".jpeg", ".png")


def read_picture(path: Path) -> npt.NDArray[np.float32]:
    """Values (C, H, W) as stored, row 0 the top of the picture; grey is one channel, colour three.

    Pixels that are wholly transparent are NaN.
    """
    try:
        with Image.open(path, formats=("JPEG", "PNG")) as stored:
            plain = _plain(stored)
            values = np.asarray(plain, dtype=np.float32)
            has_alpha = plain.mode in ("LA", "RGBA")
    except FileNotFoundError:
        raise DataError(f"there is no file {path}") from None
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(
            f"cannot read {path}",
            found=" ".join(str(error).split()),
            expected="a whole JPEG or PNG picture",
            hint="open it in another program; if it does not open there either, it is damaged",
        ) from None
    planes = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    if has_alpha:
        planes = np.where(planes[-1:] > 0, planes[:-1], np.float32(np.nan))
    return np.ascontiguousarray(planes)


def _plain(image: Image.Image) -> Image.Image:
    """The same with a number, or three, at each pixel, and perhaps how opaque it is."""
    if image.mode == "P":
        return image.convert("RGBA" if "transparency" in image.info else "RGB")
    if image.mode == "1":
        return image.convert("L")
    return image.convert("RGB") if image.mode in ("CMYK", "YCbCr") else image
