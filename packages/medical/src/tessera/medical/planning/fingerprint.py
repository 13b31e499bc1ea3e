"""What a data set looks like: sizes, spacings, intensities and structures, one case in memory at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import cc3d
import numpy as np
import numpy.typing as npt

from tessera.core.data.case import Case, FileRef, Source
from tessera.core.errors import DataError, TesseraError
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.label_files import check_labels
from tessera.medical.layout import Layout
from tessera.medical.windows import nonzero_box, volume_grid

SAMPLES = 10_000_000  # foreground voxels of all cases together whose intensities are kept
SEED = 1234  # of the places that are sampled
LOW, HIGH = 0.5, 99.5  # percentiles to which CT is clipped

Progress = Callable[[int, int, str], None]
Array = npt.NDArray[Any]


class MaskReader(Protocol):
    """Opens images and the masks that go with them."""

    def open(self, case: Case) -> Source:
        """The case's image."""
        ...

    def open_mask(self, case: Case, target: str) -> Source:
        """The case's mask, on the grid of its image."""
        ...


@dataclass(frozen=True)
class ClassFacts:
    """A class in one case.

    Args:
        voxels: Number of them.
        components: Connected parts, neighbours by face, edge or corner.
        smallest_mm3: Volume of the smallest part; 0 when there is none.
    """

    voxels: int
    components: int
    smallest_mm3: float


@dataclass(frozen=True)
class CaseFacts:
    """One case, its axes to the right, front and top.

    Args:
        id: Of the case.
        shape: Voxels of the box that is not zero.
        spacing_mm: Of its voxels.
        relative_size: Voxels of the box over those of the whole.
        least: Lowest value of each channel.
        greatest: Highest value of each channel.
        classes: Facts of each class, the background left out.
    """

    id: str
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    relative_size: float
    least: tuple[float, ...]
    greatest: tuple[float, ...]
    classes: tuple[ClassFacts, ...]


@dataclass(frozen=True)
class ChannelFacts:
    """Intensities of a channel in the foreground of all cases, as stored."""

    mean: float
    std: float
    median: float
    least: float
    greatest: float
    low: float
    high: float


@dataclass(frozen=True)
class Fingerprint:
    """A data set's facts.

    Args:
        classes: Names, the background first.
        channels: Intensities.
        cases: Sorted by id.
    """

    classes: tuple[str, ...]
    channels: tuple[ChannelFacts, ...]
    cases: tuple[CaseFacts, ...]

    def to_json(self) -> str:
        """As text that ``from_json`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Fingerprint:
        """The fingerprint again."""
        values = json.loads(text)
        cases = []
        for case in values["cases"]:
            parts: dict[str, Any] = {n: tuple(v) if isinstance(v, list) else v for n, v in case.items()}
            parts["classes"] = tuple(ClassFacts(**facts) for facts in case["classes"])
            cases.append(CaseFacts(**parts))
        channels = tuple(ChannelFacts(**facts) for facts in values["channels"])
        return cls(tuple(values["classes"]), channels, tuple(cases))


def take_fingerprint(
    cases: Sequence[Case],
    reader: MaskReader,
    *,
    target: str,
    classes: Sequence[str],
    crop: bool = True,
    progress: Progress | None = None,
) -> Fingerprint:
    """The facts of cases with masks; each is read once and let go.

    Args:
        cases: Training cases.
        reader: Opens them.
        target: Name of the masks' column.
        classes: Names, the background first.
        crop: Count only the box that is not zero, as the windows will.
        progress: Called after each case.
    """
    facts: list[CaseFacts] = []
    sampled: list[Array] = []
    share = SAMPLES // max(1, len(cases))
    for number, case in enumerate(sorted(cases, key=lambda case: case.id)):
        with naming(case):
            one, foreground = _one_case(case, reader, target, classes, crop=crop)
            if facts and len(one.least) != len(facts[0].least):
                raise DataError(
                    "another number of channels than the cases before",
                    found=len(one.least),
                    expected=f"{len(facts[0].least)}, as in {facts[0].id}",
                )
        facts.append(one)
        inside = np.random.default_rng(SEED).integers(0, max(1, foreground.shape[1]), share)
        sampled.append(foreground[:, inside] if foreground.shape[1] else foreground)
        if progress is not None:
            progress(number + 1, len(cases), "looking at the training cases")
    if not sum(part.shape[1] for part in sampled):
        raise DataError(
            "no training case shows anything but background",
            found=f"{len(cases)} masks without a class",
            hint="check that the masks belong to these images, and the target's list of classes",
        )
    pooled = (np.concatenate([part[channel] for part in sampled]) for channel in range(len(sampled[0])))
    return Fingerprint(tuple(classes), tuple(channel_facts(values) for values in pooled), tuple(facts))


def channel_facts(values: Array) -> ChannelFacts:
    """Statistics of intensities (N,)."""
    median, least, greatest, low, high = np.percentile(values, [50, 0, 100, LOW, HIGH])
    mean, std = values.mean(dtype=np.float64), values.std(dtype=np.float64)
    return ChannelFacts(*(float(v) for v in (mean, std, median, least, greatest, low, high)))


def class_facts(labels: Array, n_classes: int, voxel_mm3: float) -> tuple[ClassFacts, ...]:
    """Facts of each class but the background, of labels (I, J, K)."""
    parts, owners = components(labels)
    sizes = np.bincount(parts.ravel(), minlength=len(owners))
    found = []
    for name in range(1, n_classes):
        own = sizes[1:][owners[1:] == name]
        smallest = float(own.min() * voxel_mm3) if len(own) else 0.0
        found.append(ClassFacts(int(own.sum()), len(own), smallest))
    return tuple(found)


def components(labels: Array) -> tuple[Array, Array]:
    """Connected parts of equal labels (I, J, K), numbered from 1, and the label of each number from 0."""
    parts = cc3d.connected_components(np.ascontiguousarray(labels), connectivity=26)
    owners = np.zeros(int(parts.max()) + 1, dtype=np.int64)
    owners[parts.ravel()] = labels.ravel()
    return parts, owners


def read_mask(case: Case, reader: MaskReader, target: str) -> tuple[Array, VolumeGeometry]:
    """The classes (I, J, K) of a case's mask, and its grid."""
    mask = reader.open_mask(case, target)
    try:
        return mask.read()["input"][0].numpy(), volume_grid(mask.grid)
    finally:
        mask.close()


@contextmanager
def naming(case: Case) -> Iterator[None]:
    """Give errors of a case its id and its file."""
    try:
        yield
    except TesseraError as error:
        if f"case {case.id}" in error.problem:
            raise
        raise DataError(
            f"case {case.id}: {error.problem}",
            found=error.found,
            expected=error.expected,
            hint=error.hint or "repair the file, or take the case out of the manifest",
        ) from error
    except (OSError, ValueError, EOFError, RuntimeError) as error:
        raise DataError(
            f"case {case.id}: cannot use {', '.join(_files(case))}",
            found=f"{type(error).__name__}: {error}",
            hint="repair the file, or take the case out of the manifest",
        ) from error


def _one_case(
    case: Case, reader: MaskReader, target: str, classes: Sequence[str], *, crop: bool
) -> tuple[CaseFacts, Array]:
    """A case's facts, and the intensities (C, N) of its foreground."""
    source = reader.open(case)
    try:
        image, grid = source.read()["input"].numpy(), volume_grid(source.grid)
    finally:
        source.close()
    if not np.isfinite(image).all():
        raise DataError("the image has voxels that are not numbers", expected="finite values")
    labels, _ = read_mask(case, reader, target)
    if labels.shape != image.shape[1:]:
        raise DataError("image and mask differ in shape", found=f"{image.shape[1:]} and {labels.shape}")
    counts = np.bincount(labels.ravel())
    check_labels(case.id, {place: int(n) for place, n in enumerate(counts) if n}, classes)
    layout = Layout.towards(grid, (0, 1, 2))
    box = nonzero_box(layout.take(image)) if crop else layout.box
    turned = layout.grid(grid)
    inside = np.flatnonzero(labels)
    flat = image.reshape(len(image), -1)
    facts = CaseFacts(
        case.id,
        box.shape,
        turned.spacing,
        float(np.prod(box.shape) / np.prod(turned.size)),
        tuple(float(channel.min()) for channel in flat),
        tuple(float(channel.max()) for channel in flat),
        class_facts(labels, len(classes), grid.voxel_mm3),
    )
    return facts, flat[:, inside]


def _files(case: Case) -> list[str]:
    references = (*case.all_files(), *(t for t in case.targets.values() if isinstance(t, FileRef)))
    paths = [str(reference.path) for reference in references if reference.path is not None]
    return paths[:3]
