"""Numbers that classical rivals learn from: measures of shape, colours, and histograms of a picture."""

from __future__ import annotations

import logging
import math
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tessera.astronomy.morphology import Shape, measure_shape
from tessera.astronomy.preprocessing import Image
from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case, Reader
from tessera.core.data.manifest import Manifest
from tessera.core.errors import DataError, TesseraError

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

VERSION = 1  # of what the features mean; a stored table of another version is made anew
SHAPE_NAMES = tuple(Shape().numbers())
BINS = 12  # of each histogram
BRIGHT_PERCENTILE = 99.5  # what counts as white
BEND = 10.0  # of the asinh scale on which histograms are even
STEEPEST = 0.25  # gradient of the scaled picture, a pixel; steeper ones fall into the last bin


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of N cases.

    Args:
        case_id: N names.
        names: F names.
        values: (N, F), NaN for what could not be measured.
        failures: Why cases could not be read, by name.
    """

    case_id: tuple[str, ...]
    names: tuple[str, ...]
    values: Floats
    failures: Mapping[str, str] = field(default_factory=dict)

    def take(self, case_ids: Sequence[str], names: Sequence[str]) -> Floats:
        """Values (n, f) of some cases and features, in that order."""
        if unknown := [name for name in names if name not in self.names]:
            raise DataError(f"there is no feature {', '.join(unknown)}", expected=", ".join(self.names))
        row = {name: place for place, name in enumerate(self.case_id)}
        rows = [row[name] for name in case_ids]
        return self.values[np.ix_(rows, [self.names.index(name) for name in names])]

    def save(self, path: Path) -> None:
        """Write the table as NPZ."""
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.savez_compressed(
                file,
                case_id=np.array(self.case_id, dtype=np.str_),
                names=np.array(self.names, dtype=np.str_),
                values=self.values,
                failed=np.array(list(self.failures), dtype=np.str_),
                causes=np.array(list(self.failures.values()), dtype=np.str_),
            )

    @classmethod
    def load(cls, path: Path) -> FeatureTable:
        """Read what ``save`` wrote."""
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                return cls(
                    tuple(arrays["case_id"].tolist()),
                    tuple(arrays["names"].tolist()),
                    arrays["values"],
                    dict(zip(arrays["failed"].tolist(), arrays["causes"].tolist(), strict=True)),
                )
        except (OSError, ValueError, LookupError, EOFError, zipfile.BadZipFile) as error:
            raise DataError(f"cannot read {path}", found=error, expected="a table of features") from None


def features_of(bands: Image) -> dict[str, float]:
    """All features of an image (C, H, W) in counts, or of a picture."""
    return measure_shape(bands).numbers() | picture_features(bands)


def picture_features(bands: Image) -> dict[str, float]:
    """Histograms of each band and of the gradient of their sum, and the bands' ratios where it is bright.

    The image is scaled to 1 at the 99.5th percentile of the mean of its bands, so that neither the zero
    point nor the exposure matters; the histograms are even on a scale of asinh(10 x).
    """
    values = np.where(np.isfinite(bands), bands, np.float32(0))
    mean = values.mean(axis=0)
    white = float(np.percentile(mean, BRIGHT_PERCENTILE))
    scaled = values / np.float32(white if white > 0 else 1)
    found: dict[str, float] = {}
    for place, band in enumerate(scaled):
        curved = np.arcsinh(BEND * np.clip(band, 0, 1)) / math.asinh(BEND)
        found |= _histogram(f"band{place}", curved, 1.0)
    grey = np.arcsinh(BEND * np.clip(scaled.mean(axis=0), 0, 1)) / math.asinh(BEND)
    if min(grey.shape) > 1:
        found |= _histogram("gradient", np.minimum(np.hypot(*np.gradient(grey)), STEEPEST), STEEPEST)
    bright = mean >= np.percentile(mean, 90)
    light = values[:, bright].sum(axis=1, dtype=np.float64)
    for place in range(len(values) - 1):
        both = light[place] > 0 and light[place + 1] > 0
        found[f"colour{place}"] = -2.5 * math.log10(light[place] / light[place + 1]) if both else math.nan
    return found


def measure_cases(
    cases: Iterable[Case], reader: Reader, *, progress: Callable[[int], None] | None = None
) -> FeatureTable:
    """The features of all cases that can be read.

    Args:
        cases: The cases.
        reader: Opens them.
        progress: Called with the number of cases done.
    """
    found: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    for number, case in enumerate(cases, start=1):
        try:
            source = reader.open(case)
            try:
                found[case.id] = features_of(source.read()["input"].numpy())
            finally:
                source.close()
        except TesseraError as error:
            failures[case.id] = error.one_line()
            logger.warning("case %s is left out: %s", case.id, failures[case.id])
        if progress is not None:
            progress(number)
    if not found:
        raise DataError("not one case could be measured", found="; ".join(list(failures.values())[:3]))
    names = tuple(dict.fromkeys(name for row in found.values() for name in row))
    values = np.array([[row.get(name, math.nan) for name in names] for row in found.values()])
    return FeatureTable(tuple(found), names, values, failures)


def features_of_manifest(
    manifest: Manifest, reader: Reader, *, target: str, cache: Path | None = None
) -> FeatureTable:
    """The features of a manifest's labelled cases, measured once where there is a cache folder."""
    cases = manifest.training_cases(target)
    if cache is None:
        return measure_cases(cases, reader)
    path = cache / f"features-{VERSION}-{manifest.digest[:16]}-{target}.npz"
    if path.is_file():
        try:
            return FeatureTable.load(path)
        except DataError as error:
            logger.warning("measuring anew: %s", error)
    table = measure_cases(cases, reader)
    table.save(path)
    return table


def _histogram(name: str, values: npt.NDArray[np.floating], highest: float) -> dict[str, float]:
    """Shares of the pixels in even bins from 0 to ``highest``."""
    counts, _ = np.histogram(values, bins=BINS, range=(0.0, highest))
    return {f"{name}_{place}": float(count) / values.size for place, count in enumerate(counts)}
