"""Spacing, size and values of a scan, quickly, and whether they are like those of the training scans.

Values are a sample: along each axis every n-th voxel, n the least that gives at most ``SIDE`` of them,
beginning in the middle of the first n. Of a channel without absolute scale, as in MR, a scan's percentiles
are divided by the scan's own span from the lowest to the highest of them, so that their relation counts.

A scan is unlike the training scans where, along one direction of the body, its spacing or its extent is
``FACTOR`` times beyond their range, or where a percentile lies outside theirs by more than ``MARGIN`` of the
span between their lowest and their highest percentile. These two limits are our own choice. A remark is no
verdict: the network may do well on such a scan, but nobody has measured it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Case, MaskReader, Source
from tessera.core.data.geometry import Geometry, Region
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.planning.fingerprint import naming
from tessera.medical.readers import VolumeReader
from tessera.medical.seen_scans import SeenScans, SeenValues
from tessera.medical.volume_files import modality_of
from tessera.medical.windows import volume_grid

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample
    from tessera.medical.planning.data_config import NormalisationConfig

SIDE = 64  # voxels sampled along an axis
PERCENTILES = (0.5, 50.0, 99.5)
NAMES = ("low", "median", "high")
FACTOR = 1.5
MARGIN = 0.25
DIRECTIONS = ("left to right", "back to front", "feet to head")
ABSOLUTE = ("ct", "bytes", "as-stored")  # kinds of normalisation that leave values their meaning
MODALITIES = {  # what people call channels, and DICOM
    "CT": ("ct",),
    "MR": ("mr", "mri", "t1", "t1w", "t1c", "t1ce", "t1gd", "t2", "t2w", "flair", "pd", "dwi", "adc"),
    "PT": ("pt", "pet"),
}

Values = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ScanFacts:
    """Facts of a scan; triples are to the right, the front and the head.

    Args:
        spacing_mm: Of its voxels.
        extent_mm: Voxels times spacing.
        percentiles: Low, median and high of each channel, as stored.
    """

    spacing_mm: tuple[float, ...]
    extent_mm: tuple[float, ...]
    percentiles: tuple[tuple[float, ...], ...]


def sampled(n: int) -> slice:
    """The places along an axis of n voxels whose values are looked at."""
    step = -(-n // SIDE)
    return slice((step - 1) // 2, n, step)


def facts_of(image: Values, grid: Geometry) -> ScanFacts:
    """Facts of a whole scan (C, I, J, K)."""
    return _facts(image[(slice(None), *map(sampled, image.shape[1:]))], volume_grid(grid))


def look_at(source: Source) -> ScanFacts:
    """Facts of an open scan, of which a few slices are read."""
    return _facts(sampled_values(source, [sampled(n) for n in source.grid.shape]), volume_grid(source.grid))


def sampled_values(source: Source, places: Sequence[slice]) -> Values:
    """The values (C, i, j, k) at some places along each axis of a scan, read slice after slice."""
    rows, columns, slices = places
    i, j, n = source.grid.shape
    parts = []
    for k in range(*slices.indices(n)):
        part = source.read(Region((0, 0, k), (i, j, k + 1)))["input"].numpy()
        parts.append(part[:, rows, columns])
    return np.concatenate(parts, axis=3)


def _facts(values: Values, grid: VolumeGeometry) -> ScanFacts:
    upright = grid.canonical()
    extent = tuple(n * step for n, step in zip(upright.size, upright.spacing, strict=True))
    percentiles = [np.percentile(channel, PERCENTILES).tolist() for channel in values]
    return ScanFacts(upright.spacing, extent, tuple(map(tuple, percentiles)))


def unlike(facts: ScanFacts, seen: SeenScans) -> tuple[str, ...]:
    """Remarks on what a scan has unlike the training scans, with both values; none if it is like them."""
    found = []
    for what, own, ranges in (
        ("spacing", facts.spacing_mm, seen.spacing_mm),
        ("extent", facts.extent_mm, seen.extent_mm),
    ):
        for direction, value, (least, greatest) in zip(DIRECTIONS, own, ranges, strict=True):
            if not least / FACTOR <= value <= greatest * FACTOR:
                found.append(f"{what} of {value:.3g} mm {direction}, not {least:.3g} to {greatest:.3g}")
    for number, (own, known) in enumerate(zip(facts.percentiles, seen.values, strict=False), start=1):
        margin = MARGIN * (known.high[1] - known.low[0])
        of = f" of channel {number}" if len(seen.values) > 1 else ""
        unit = "" if known.absolute else " of the span"
        for name, value in zip(NAMES, _scaled(own, absolute=known.absolute), strict=True):
            least, greatest = getattr(known, name)
            if not least - margin <= value <= greatest + margin:
                found.append(f"{name} value{of} {value:.3g}{unit}, not {least:.3g} to {greatest:.3g}")
    return tuple(f"unlike the training scans: {one}" for one in found)


def seen_scans(facts: Sequence[ScanFacts], normalisation: Sequence[NormalisationConfig]) -> SeenScans:
    """The ranges of the training scans.

    Args:
        facts: Of each.
        normalisation: Of each channel; decides whether its values have an absolute scale.
    """
    values = []
    for number, scheme in enumerate(normalisation):
        absolute = scheme.kind in ABSOLUTE
        own = [_scaled(one.percentiles[number], absolute=absolute) for one in facts]
        ranges = dict(zip(NAMES, _ranges(own), strict=True))
        values.append(SeenValues(absolute=absolute, **ranges))
    return SeenScans(
        spacing_mm=tuple(_ranges([one.spacing_mm for one in facts])),
        extent_mm=tuple(_ranges([one.extent_mm for one in facts])),
        values=tuple(values),
    )


def modalities_of(cases: Sequence[Case], channels: Sequence[str]) -> tuple[str, ...]:
    """DICOM modalities of training cases: as their files say, else as the first channel's name does."""
    told = {modality for case in cases if (modality := modality_of(case))}
    named = [dicom for dicom, names in MODALITIES.items() if channels[0].lower() in names]
    return tuple(sorted(told) or named)


def _scaled(percentiles: Sequence[float], *, absolute: bool) -> tuple[float, ...]:
    """As stored, or over the span from the first to the last."""
    span = 1.0 if absolute else (percentiles[-1] - percentiles[0]) or 1.0
    return tuple(value / span for value in percentiles)


def _ranges(rows: Sequence[Sequence[float]]) -> list[tuple[float, float]]:
    """Least and greatest of each column, rounded to six digits."""
    columns = zip(*rows, strict=True)
    return [(float(f"{min(column):.6g}"), float(f"{max(column):.6g}")) for column in columns]


class Onlooker:
    """A reader that keeps the facts of the scans which others read through it.

    Args:
        reader: Opens images and masks.
    """

    def __init__(self, reader: VolumeReader) -> None:
        self.reader: MaskReader = reader
        self.facts: dict[str, ScanFacts] = {}

    def open(self, case: Case) -> Source:
        """The case's image, which tells its facts when it is read as a whole."""
        return _Overseen(self.reader.open(case), case.id, self.facts)

    def open_mask(self, case: Case, target: str) -> Source:
        """The case's mask."""
        return self.reader.open_mask(case, target)

    def of(self, cases: Sequence[Case]) -> list[ScanFacts]:
        """The facts of these cases; those that nobody read are looked at now."""
        for case in cases:
            if case.id not in self.facts:
                with naming(case):
                    self.facts[case.id] = self._look(case)
        return [self.facts[case.id] for case in cases]

    def _look(self, case: Case) -> ScanFacts:
        source = self.reader.open(case)
        try:
            return look_at(source)
        finally:
            source.close()


@dataclass(frozen=True)
class _Overseen:
    """A source whose reading as a whole leaves its facts."""

    source: Source
    case_id: str
    facts: dict[str, ScanFacts]

    @property
    def grid(self) -> Geometry:
        return self.source.grid

    def read(self, region: Region | None = None) -> Sample:
        sample = self.source.read(region)
        if region is None:
            self.facts[self.case_id] = facts_of(sample["input"].numpy(), self.source.grid)
        return sample

    def close(self) -> None:
        self.source.close()
