"""What can be known before training: structures lost to resampling, sides of the body, patients in names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from tessera.core.data.case import Case
from tessera.medical.layout import Layout
from tessera.medical.planning.fingerprint import MaskReader, Progress, components, naming, read_mask
from tessera.medical.resampling import nearest, orders_for, resample_labels
from tessera.medical.windows import resampled_shape, target_spacing

SIDES = {"left": -1, "l": -1, "lt": -1, "lh": -1, "right": 1, "r": 1, "rt": 1, "rh": 1}
ENDS = {  # words of the two ends of an RAS axis, where classes are parts of one organ
    1: ({"anterior", "ant", "front", "frontal"}, {"posterior", "post", "back", "occipital"}),
    2: ({"superior", "sup", "upper", "cranial"}, {"inferior", "inf", "lower", "caudal"}),
}
CHAMBERS = {
    "atrium",
    "ventricle",
    "atrial",
    "ventricular",
    "heart",
    "cardiac",
}  # of the heart: no mirror images
BRAIN = {"lateral", "cerebral", "brain", "inferior", "temporal", "horn", "inf", "lat"}
_WORDS = re.compile(r"[A-Za-z]\d+|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")  # L1 is a vertebra, no left 1
_VISIT = re.compile(
    r"(?P<who>.*?[^_\W])[-_ .]?(?:ses|session|visit|tp|time|timepoint|t|v|scan|fu|followup|baseline|pre|post)"
    r"[-_ ]?\d*$",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?P<who>.*\d[a-z]?)[-_. ]\d{1,2}$", re.IGNORECASE)
RIGHT = 0  # the RAS axis that mirroring must not confuse


@dataclass(frozen=True)
class Mirrors:
    """Which mirror images of a patch are still true.

    Args:
        axes: Axes of the network that may be mirrored.
        pairs: Classes that change places when left and right are mirrored.
        reason: For a person.
    """

    axes: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    reason: str


@dataclass(frozen=True)
class Loss:
    """What resampling to the planned spacing does to one class of one case.

    Args:
        case_id: The case.
        name: The class.
        components: Connected parts on the case's own grid.
        lost: Parts of which nothing is left.
    """

    case_id: str
    name: str
    components: int
    lost: int

    @property
    def vanished(self) -> bool:
        """Whether nothing of the class is left."""
        return self.lost == self.components


def audit_survival(
    cases: Sequence[Case],
    reader: MaskReader,
    *,
    target: str,
    classes: Sequence[str],
    axes: Sequence[int],
    spacing_mm: Sequence[float | None],
    progress: Progress | None = None,
) -> tuple[Loss, ...]:
    """Every class of every case that loses a part at the planned spacing, the worst first.

    Args:
        cases: With masks.
        reader: Opens the masks.
        target: Name of the masks' column.
        classes: Names, the background first.
        axes: RAS axes in the network's order.
        spacing_mm: Planned, in that order; None keeps a case's own.
        progress: Called after each case.
    """
    found = []
    for number, case in enumerate(cases):
        with naming(case):
            stored, grid = read_mask(case, reader, target)
            layout = Layout.towards(grid, axes)
            spacing = layout.grid(grid).spacing
            labels = np.ascontiguousarray(layout.take(stored), dtype=np.int16)
            parts = lost_parts(labels, spacing, target_spacing(spacing, spacing_mm))
        found += [Loss(case.id, classes[name], *counts) for name, counts in parts.items() if counts[1]]
        if progress is not None:
            progress(number + 1, len(cases), "resampling the labels")
    return tuple(sorted(found, key=lambda loss: (-loss.lost / loss.components, loss.name, loss.case_id)))


def lost_parts(
    labels: npt.NDArray[np.int16], spacing: Sequence[float], new_spacing: Sequence[float]
) -> dict[int, tuple[int, int]]:
    """For each class of labels (I, J, K) its number of connected parts, and of those lost at a new spacing.

    A part is lost when no voxel of it lies in a new voxel of its class.
    """
    shape = resampled_shape(labels.shape, spacing, new_spacing)
    orders = orders_for(spacing, new_spacing, order=1)
    coarse = resample_labels(torch.from_numpy(labels), shape, orders=orders).numpy()
    back = coarse[np.ix_(*(nearest(n, old) for n, old in zip(shape, labels.shape, strict=True)))]
    parts, owners = components(labels)
    left = np.zeros(len(owners), dtype=bool)
    left[parts[back == labels]] = True
    classes = sorted(set(owners[1:].tolist()))
    return {c: (int((owners[1:] == c).sum()), int((~left[1:] & (owners[1:] == c)).sum())) for c in classes}


def mirror_rule(classes: Sequence[str], axes: Sequence[int], *, spatial_dims: int = 3) -> Mirrors:
    """Mirroring that keeps left and right true, from the classes' names.

    Args:
        classes: The background first.
        axes: RAS axes in the network's order.
        spatial_dims: 2 for slices across the first axis, which cannot be mirrored along it.
    """
    pairs, alone = side_pairs(classes)
    across = tuple(axes).index(RIGHT)
    ends = {tuple(axes).index(axis): names for axis, names in opposite_ends(classes).items()}
    allowed = tuple(axis for axis in range(3 - spatial_dims, 3) if axis not in ends)
    kept = "".join(
        f" Not mirrored where {first} would lie in the place of {last}." for first, last in ends.values()
    )
    if alone:
        named = ", ".join(alone[:4])
        return Mirrors(
            tuple(axis for axis in allowed if axis != across),
            (),
            f"Patches are not mirrored from left to right: {named} would become what no body has.{kept}",
        )
    if pairs:
        named = ", ".join(f"{classes[a]} and {classes[b]}" for a, b in pairs[:4])
        return Mirrors(allowed, pairs, f"Mirrored from left to right, classes change places: {named}.{kept}")
    if ends:
        return Mirrors(allowed, (), f"Patches are mirrored from left to right: no class has a side.{kept}")
    return Mirrors(allowed, (), "Patches are mirrored along all axes: no class has a side.")


def opposite_ends(classes: Sequence[str]) -> dict[int, tuple[str, str]]:
    """RAS axes at whose two ends classes lie by their names, with one class of each end.

    The front part of an organ is no mirror image of its back part, so these classes cannot change places.
    """
    words = {name: {word.lower() for word in _WORDS.findall(name)} for name in classes[1:]}
    found = {}
    for axis, (one, other) in ENDS.items():
        first = [name for name, parts in words.items() if parts & one and not parts & other]
        last = [name for name, parts in words.items() if parts & other and not parts & one]
        if first and last:
            found[axis] = (first[0], last[0])
    return found


def side_pairs(classes: Sequence[str]) -> tuple[tuple[tuple[int, int], ...], tuple[str, ...]]:
    """Pairs (left, right) of classes by their names, and names with a side but no mirror image.

    Chambers of the heart have sides in their names, but the right one is no mirror image of the left.
    """
    sided: dict[tuple[str, ...], dict[int, int]] = {}
    for place, name in enumerate(classes):
        words = [word.lower() for word in _WORDS.findall(name)]
        sides = [word for word in words if word in SIDES]
        if place and len(sides) == 1 and len(words) > 1:
            rest = tuple("*" if word == sides[0] else word for word in words)
            sided.setdefault(rest, {})[SIDES[sides[0]]] = place
    pairs, alone = [], []
    for rest, places in sided.items():
        heart = CHAMBERS & set(rest) and not BRAIN & set(rest)
        if len(places) == 2 and not heart:
            pairs.append((places[-1], places[1]))
        else:
            alone += [classes[place] for place in places.values()]
    return tuple(sorted(pairs)), tuple(alone)


def grouping_warnings(cases: Sequence[Case]) -> list[str]:
    """Say so when names look like several scans of a patient, but each scan is a group of its own."""
    if len({case.group for case in cases}) < len(cases):
        return []
    names = {case.id: _patient(case.id) for case in cases}
    scans = Counter(who for who in names.values() if who)
    repeated = [who for who, n in scans.items() if n > 1]
    if not repeated or len(scans) < 2:
        return []
    example = [case_id for case_id, who in names.items() if who == repeated[0]]
    return [
        f"{' and '.join(example[:2])} look like one patient, but every case is a group of its own: a patient "
        "may train and test. Give the column group, or tessera data make --patient-id."
    ]


def _patient(case_id: str) -> str:
    name = case_id.rpartition("/")[2].removesuffix(".gz").removesuffix(".nii")
    match = _VISIT.fullmatch(name) or _NUMBERED.fullmatch(name)
    return match["who"].lower() if match else ""
