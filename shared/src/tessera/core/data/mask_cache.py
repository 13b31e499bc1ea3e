"""Prepared cases with their masks: beside the image the mask, and places of its classes to draw from.

Places of each class are drawn once, as nnU-Net does (Isensee et al., 2021): up to 10,000, and never less than
one in a hundred of its elements.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from tessera.core.data.atomic import replacing, write_atomic
from tessera.core.data.cache import DAMAGE, ArraySource, PreparedCache, crc32
from tessera.core.data.case import Case, FileRef, MaskReader
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.hashing import InputHasher
from tessera.core.data.windows import MaskWindows
from tessera.core.errors import DataError

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample

_log = logging.getLogger(__name__)
_FORMAT = 1
MOST_PLACES = 10_000
LEAST_SHARE = 0.01  # of a class's elements
PLACES_SEED = 1234
_NAMED = 10  # ids in a message

IntArray = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class PreparedMask:
    """A mask on the prepared grid of its case.

    Args:
        classes: (*S) class of each element, uint8 or uint16.
        places: (M, 1 + d) class and place of drawn elements of the foreground, sorted by class.
        read: (K,) elements of each class in the file.
        kept: (K,) elements of each class on the prepared grid.
    """

    classes: IntArray
    places: npt.NDArray[np.int32]
    read: npt.NDArray[np.int64]
    kept: npt.NDArray[np.int64]

    def draw_place(self, rng: np.random.Generator) -> tuple[int, ...] | None:
        """A place of the foreground, every class that is there as likely; ``None`` where there is none."""
        present = np.flatnonzero(self.kept[1:]) + 1
        if not len(present):
            return None
        chosen = present[rng.integers(len(present))]
        column = self.places[:, 0]
        first, last = np.searchsorted(column, chosen, "left"), np.searchsorted(column, chosen, "right")
        return tuple(int(value) for value in self.places[rng.integers(first, last), 1:])


class _ClassSource(ArraySource):
    """A mask (1, *S) that reads as an image does, in float32, which holds every class exactly."""

    def read(self, region: Region | None = None) -> Sample:
        """A copy of the region's classes (1, *S)."""
        sample = super().read(region)
        return {**sample, "input": sample["input"].float()}


class MaskedSource(ArraySource):
    """A prepared case (C, *S) that brings its mask.

    Args:
        image: The prepared case.
        mask: Its mask, on the same grid.
    """

    def __init__(self, image: ArraySource, mask: PreparedMask) -> None:
        super().__init__(image.array, image.grid)
        self.mask = mask

    @property
    def classes(self) -> ArraySource:
        """The mask (1, *S) as a source, to be cut as the case is."""
        return _ClassSource(self.mask.classes[None], self.grid)


@dataclass(frozen=True)
class MaskPreparation:
    """How a case's mask is prepared.

    Args:
        reader: Opens the mask.
        windows: Brings it to the prepared grid.
        target: Name of the target.
        n_classes: K, the background included.
    """

    reader: MaskReader
    windows: MaskWindows
    target: str
    n_classes: int

    def prepare(self, case: Case, grid: Geometry) -> PreparedMask:
        """Read and prepare the mask; raises when it holds what is no class, or does not fit its case."""
        source = self.reader.open_mask(case, self.target)
        try:
            raw = source.read()["input"].numpy()
            read = self._counts(case, raw)
            own = ArraySource(raw, source.grid)
        finally:
            source.close()
        prepared = np.asarray(self.windows.prepare_mask(own, grid))
        if prepared.shape != grid.shape:
            raise DataError(
                f"case {case.id}: the mask does not fit its case",
                found=f"{prepared.shape} elements",
                expected=f"{grid.shape}",
                hint="look whether the mask was made for this file",
            )
        kept = self._counts(case, prepared)
        kind = np.uint8 if self.n_classes <= 2**8 else np.uint16
        classes = np.ascontiguousarray(prepared, dtype=kind)
        return PreparedMask(classes, draw_places(classes, kept), read, kept)

    def _counts(self, case: Case, mask: IntArray) -> npt.NDArray[np.int64]:
        ids, counts = np.unique(mask, return_counts=True)
        wrong = [value for value in ids.tolist() if value not in range(self.n_classes)]
        if wrong:
            more = f" and {len(wrong) - _NAMED} more" if len(wrong) > _NAMED else ""
            raise DataError(
                f"case {case.id}: its mask {self.target} holds labels that are no class",
                found=", ".join(f"{value:g}" for value in wrong[:_NAMED]) + more,
                expected=f"whole numbers from 0 to {self.n_classes - 1}, places in the list of classes",
                hint="correct the mask, or add the classes to dataset.yaml",
            )
        table = np.zeros(self.n_classes, dtype=np.int64)
        table[ids.astype(np.int64)] = counts
        return table


def draw_places(classes: IntArray, counts: npt.NDArray[np.int64]) -> npt.NDArray[np.int32]:
    """Class and place (M, 1 + d) of drawn elements of each class but the first, sorted by class."""
    rows = []
    flat = classes.reshape(-1)
    for k in range(1, len(counts)):
        n = int(counts[k])
        if not n:
            continue
        rng = np.random.default_rng([PLACES_SEED, k])
        wanted = max(min(MOST_PLACES, n), math.ceil(LEAST_SHARE * n))
        chosen = np.sort(rng.choice(np.flatnonzero(flat == k), size=wanted, replace=False))
        place = np.stack(np.unravel_index(chosen, classes.shape), axis=1)
        rows.append(np.concatenate([np.full((wanted, 1), k), place], axis=1))
    empty = np.zeros((0, 1 + classes.ndim))
    return np.concatenate([empty, *rows]).astype(np.int32)


@dataclass(frozen=True)
class UnkeptMasks:
    """Opens a case and its mask by preparing both anew each time."""

    open_image: Callable[[Case], ArraySource]
    preparation: MaskPreparation

    def __call__(self, case: Case) -> MaskedSource:
        """The prepared case and its mask."""
        image = self.open_image(case)
        return MaskedSource(image, self.preparation.prepare(case, image.grid))


class MaskCache:
    """Opens cases and their masks through the cache of prepared cases.

    Args:
        images: The cache of the images, whose folder the masks share.
        preparation: Prepares a mask that is not there yet.
        config_digest: Digest of everything the preparation depends on beside the files' content.
    """

    def __init__(self, images: PreparedCache, preparation: MaskPreparation, config_digest: str) -> None:
        self.images = images
        self.preparation = preparation
        self.config_digest = config_digest
        self._checked: set[str] = set()

    def open(self, case: Case) -> MaskedSource:
        """The prepared case and its mask, prepared now when it is not there or its entry is damaged."""
        image = self.images.open(case)
        key = self._key(case)
        entry = self.images.folder / key[:2] / key
        try:
            return MaskedSource(image, self._load(entry, key, image.grid))
        except FileNotFoundError:
            pass
        except DAMAGE as error:
            _log.warning("preparing the mask of %s anew, its cache entry is damaged: %s", case.id, error)
        mask = self.preparation.prepare(case, image.grid)
        try:
            self._store(entry, mask)
            return MaskedSource(image, self._load(entry, key, image.grid))
        except (OSError, ValueError) as error:  # a full disk, an array numpy cannot map
            _log.warning("not caching the mask of %s in %s: %s", case.id, self.images.folder, error)
            return MaskedSource(image, mask)

    def _key(self, case: Case) -> str:
        """Name of the entry: image, mask, classes and configuration."""
        reference = case.target_file(self.preparation.target)
        mask = mask_hash(self.images.hasher, reference)
        parts = [_FORMAT, self.images.key(case), mask, self.preparation.n_classes, self.config_digest]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def _store(self, entry: Path, mask: PreparedMask) -> None:
        for suffix, array in ((".mask.npy", mask.classes), (".places.npy", mask.places)):
            with replacing(entry.with_suffix(suffix)) as temporary, temporary.open("wb") as file:
                np.save(file, array, allow_pickle=False)
        head = {
            "mask_crc32": crc32(mask.classes),
            "places_crc32": crc32(mask.places),
            "read": mask.read.tolist(),
            "kept": mask.kept.tolist(),
        }
        write_atomic(entry.with_suffix(".mask.json"), json.dumps(head, sort_keys=True))

    def _load(self, entry: Path, key: str, grid: Geometry) -> PreparedMask:
        head = json.loads(entry.with_suffix(".mask.json").read_text(encoding="utf-8"))
        classes = np.load(entry.with_suffix(".mask.npy"), mmap_mode="r", allow_pickle=False)
        mode: Literal["r"] | None = "r" if sum(head["kept"][1:]) else None  # no place: nothing to map
        places = np.load(entry.with_suffix(".places.npy"), mmap_mode=mode, allow_pickle=False)
        if classes.shape != grid.shape or places.shape[1:] != (1 + classes.ndim,):
            raise ValueError(f"a mask {classes.shape} and places {places.shape} for a case {grid.shape}")
        if key not in self._checked:
            if (crc32(classes), crc32(places)) != (head["mask_crc32"], head["places_crc32"]):
                raise ValueError("its checksum differs")
            self._checked.add(key)
        read, kept = (np.asarray(head[name], dtype=np.int64) for name in ("read", "kept"))
        return PreparedMask(classes, places, read, kept)


def mask_hash(hasher: InputHasher, reference: FileRef) -> str:
    """SHA-256 of a mask's file."""
    return hasher.hash([reference], {})


def lost_classes(read: IntArray, kept: IntArray, names: Sequence[str]) -> list[str]:
    """Remarks on classes that cannot be learnt: no case has them, or preparing the case loses them.

    Args:
        read: (N, K) elements of each class in the files of N cases.
        kept: (N, K) the same on the prepared grids.
        names: Of the K classes.
    """
    remarks = []
    for k, name in enumerate(names):
        there, lost = read[:, k] > 0, (read[:, k] > 0) & (kept[:, k] == 0)
        if not there.any():
            remarks.append(f"no training case has a single element of class {name}")
        elif lost.any():
            remarks.append(
                f"class {name} is lost in {int(lost.sum())} of {int(there.sum())} training cases when "
                "they are prepared: it is smaller there than an element of the prepared grid; prepare finer"
            )
    return remarks
