"""Images in, one table out: reader, windows, writer and figures."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from PIL import Image

from tessera.core.data.atomic import write_atomic
from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, FileRef, Source
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.report.media import CaseMedia
from tessera.minimal_images.config import ImagesConfig
from tessera.minimal_images.pipelines import IMAGES

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample


def decoded(case: Case, mode: str) -> Image.Image:
    """An image file, or one row of a file of packed one-bit images (ink is black)."""
    path = case.path("image")
    try:
        if "row" not in case.select:
            return Image.open(path).convert(mode)
        with np.load(path, allow_pickle=False) as packed:
            height, width = packed["shape"][-2:]
            ink = np.unpackbits(packed["packed"][int(case.select["row"])], count=height * width)
        return Image.fromarray((255 * (1 - ink)).reshape(height, width)).convert(mode)
    except (OSError, ValueError, LookupError, EOFError) as error:
        raise DataError(f"cannot read {path}", found=error, expected=IMAGES.inputs.description) from None


class ImageReader:
    """Finds and opens images."""

    def __init__(self, config: ImagesConfig | None = None) -> None:
        self.mode = "L" if config is not None and config.data.channels == 1 else "RGB"

    def find(self, path: Path) -> list[Case]:
        """Every image below a folder (or the one file), sorted by its path there."""
        root, files = (path.parent, [path]) if path.is_file() else (path, path.rglob("*"))
        names = sorted(
            f.relative_to(root).as_posix() for f in files if f.suffix.lower() in IMAGES.inputs.suffixes
        )
        return [Case(id=n, files={"image": FileRef(path=root / n)}, group=Path(n).stem) for n in names]

    def open(self, case: Case) -> ArraySource:
        """The image (C, H, W) in [0, 1]."""
        pixels = np.atleast_3d(np.asarray(decoded(case, self.mode), dtype=np.float32) / 255)
        return ArraySource(pixels.transpose(2, 0, 1), Pixels(pixels.shape[:2]))


class WholeImage:
    """One window: the whole image, resized."""

    def __init__(self, config: ImagesConfig) -> None:
        self.size = config.data.size
        self.input_shape = (config.data.channels, *self.size)

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """The whole image."""
        return [Region((0, 0), grid.shape)]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """The whole image."""
        return Region((0, 0), grid.shape)

    def read(self, source: Source, region: Region) -> Sample:
        """The network's input (C, H, W) in [0, 1]."""
        from torch.nn.functional import interpolate

        sample = source.read(region)
        if region.shape != self.size:
            image = sample["input"][None]
            sample["input"] = interpolate(image, self.size, mode="bilinear", antialias=True)[0]
            sample["geometry"] = sample["geometry"].resample(self.size)
        return sample

    def prepare(self, source: Source) -> tuple[npt.NDArray[np.float32], Geometry]:
        """The image (C, H, W), already resized."""
        sample = self.read(source, Region((0, 0), source.grid.shape))
        return sample["input"].numpy(), sample["geometry"]


class ImageWriter:
    """``predictions.csv``: one row an image."""

    def __init__(self, config: ImagesConfig, target: TargetSpec) -> None:
        self.classes = target.classes
        self.columns = ("case_id", "answer", *(f"p_{name}" for name in self.classes))

    def write(self, result: CaseResult, out: Path) -> Written:
        """One image's row."""
        answer = self.classes[int(result.summary.argmax())]
        values = (result.case.id, answer, *(f"{p:.6f}" for p in result.summary))
        return Written((), {"predictions": [dict(zip(self.columns, values, strict=True))]})

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write the table."""
        text = io.StringIO(newline="")
        table = csv.DictWriter(text, self.columns)
        table.writeheader()
        for _, written in cases:
            table.writerows(written.rows["predictions"])
        write_atomic(out / "predictions.csv", text.getvalue())
        return ("predictions.csv",)


class ImageFigures:
    """Shows the image itself."""

    def __init__(self, config: ImagesConfig) -> None:
        del config

    def draw(self, case: Case) -> CaseMedia:
        """The image as PNG."""
        png = io.BytesIO()
        decoded(case, "RGB").save(png, "PNG")
        return CaseMedia(images=((case.id, png.getvalue()),))
