"""Cases from a folder of volumes and a folder of labels: pairs of the same name, in nnU-Net's layout too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.core.data.case import Case, FileRef
from tessera.core.data.make_masks import MaskPairs
from tessera.core.data.manifest_checks import listing
from tessera.core.errors import DataError, TesseraError
from tessera.medical.label_files import check_labels, open_labels
from tessera.medical.readers import VolumeReader
from tessera.medical.volume_files import CHANNEL, IMAGE, is_volume_file, stem

DATASET_JSON = "dataset.json"  # nnU-Net's and the Decathlon's list of labels, beside the folder of images
OWN_GROUPS = (
    "every volume is its own group: if patients have several, say which volumes are whose with --patient-id, "
    r"for instance '^([^/_]+)_' for what stands before the first '_'; else training and test share patients"
)


@dataclass(frozen=True, kw_only=True)
class VolumePairs:
    """Volumes with their labels, and what was left out.

    Args:
        cases: Sorted by id; ``files["image"]`` is one file, a series, or one file a channel.
        warnings: For a person.
    """

    cases: tuple[Case, ...]
    warnings: tuple[str, ...]


def make_volume_cases(
    images: Path, labels: Path, *, patient_id: str | None = None, target: str = "label"
) -> VolumePairs:
    """Pair volumes and labels by their path below the two folders, without the ending.

    A volume's name may end in nnU-Net's number of the channel, ``_0000``, and a DICOM series is called as its
    folder.

    Args:
        images: Folder of volumes.
        labels: Folder of NIfTI, NRRD or MetaImage files.
        patient_id: Searched in the path without ending; its group is the patient.
        target: Name of the target.
    """
    pattern = _patient_pattern(patient_id)
    known = _labels(labels)
    found, extra = _images(images, known)
    left_out = [f"{len(extra)} volumes without labels, left out: {listing(sorted(extra))}"] if extra else []
    found, odd = _same_channels(found)
    left_out += odd
    lonely = sorted(known[key].name for key in known.keys() - found.keys())
    if lonely:
        left_out.append(f"{len(lonely)} files of labels without a volume: {listing(lonely)}")
    if not found:
        raise DataError(
            f"no volume in {images} has labels in {labels}",
            found=f"{len(extra)} volumes, {len(known)} files of labels; {'; '.join(left_out)}",
            expected="the same names, or names that differ in nnU-Net's _0000 only",
        )
    cases = [
        Case(
            id=key,
            files=files,
            targets={target: FileRef(path=known[key])},
            group=key if pattern is None else _patient(pattern, key),
        )
        for key, files in sorted(found.items())
    ]
    return VolumePairs(cases=tuple(cases), warnings=(*left_out, *((OWN_GROUPS,) if pattern is None else ())))


def class_names(images: Path) -> tuple[str, ...]:
    """The classes that a ``dataset.json`` beside the images declares; empty when there is none."""
    path = images.resolve().parent / DATASET_JSON
    try:
        declared = json.loads(path.read_text(encoding="utf-8"))["labels"]
        # version 1: {"0": "background"}, version 2: {"background": 0}
        numbered = {int(key): str(value) for key, value in declared.items()} if "0" in declared else None
        numbered = numbered or {int(value): str(key) for key, value in declared.items()}
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"cannot read the labels in {path}",
            found=f"{type(error).__name__}: {error}",
            expected='{"labels": {"background": 0, "name": 1, ...}} with one number a label',
        ) from None
    if sorted(numbered) != list(range(len(numbered))):
        raise DataError(
            f"the labels in {path} are not numbered one after another",
            found=sorted(numbered),
            expected="0, 1, 2",
        )
    return tuple(numbered[number] for number in range(len(numbered)))


def classes_found(cases: Iterable[Case], target: str = "label") -> tuple[str, ...]:
    """Names for the labels in the files: background, label_1, label_2 up to the highest."""
    highest = 0
    for case in cases:
        path = case.target_file(target).path
        if path is not None:
            highest = max(highest, open_labels(path).highest)
    return ("background", *(f"label_{number}" for number in range(1, highest + 1)))


def unusable(
    reader: VolumeReader, cases: Iterable[Case], classes: Sequence[str], target: str = "label"
) -> Iterator[tuple[str, str]]:
    """Id and reason of each case whose volume or labels cannot be used."""
    for case in cases:
        try:
            reader.open(case).close()
            check_labels(case.id, reader.open_mask(case, target).counts(), classes)
        except TesseraError as error:
            yield case.id, error.one_line()


def pair_volumes(
    images: Path,
    labels: Path,
    *,
    group_regex: str | None = None,
    target: str = "label",
    classes: Sequence[str] = (),
    fix_affine: bool = False,
) -> MaskPairs:
    """The usable pairs of two folders, and the classes of their labels.

    Args:
        images: Folder of volumes.
        labels: Folder of label files.
        group_regex: Searched in the path without ending; its group is the patient.
        target: Name of the target.
        classes: Names, the background first; none: those of a ``dataset.json``, or label_1, label_2, ...
        fix_affine: Accept labels that only lie elsewhere than their image.
    """
    pairs = make_volume_cases(images, labels, patient_id=group_regex, target=target)
    names = tuple(classes) or class_names(images) or classes_found(pairs.cases, target)
    refused = dict(unusable(VolumeReader(fix_affine=fix_affine), pairs.cases, names, target))
    return MaskPairs(
        cases=tuple(case for case in pairs.cases if case.id not in refused),
        classes=names,
        unreadable=tuple(refused.items()),
        warnings=pairs.warnings,
    )


Files = Mapping[str, FileRef | tuple[FileRef, ...]]


def _labels(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", hint="--labels names a folder of files of labels")
    cases = VolumeReader().find(folder)
    paths = [case.path(IMAGE) for case in cases if not isinstance(case.files[IMAGE], tuple)]
    known: dict[str, Path] = {}
    for path in paths:
        key = _key(path, folder)
        if key in known:
            raise DataError(
                f"two files of labels are called {key}",
                found=f"{known[key].name} and {path.name}",
                hint="keep one",
            )
        known[key] = path
    return known


def _images(folder: Path, known: Mapping[str, Path]) -> tuple[dict[str, Files], list[str]]:
    """The files of each volume that has labels, and the names of those that have none."""
    found: dict[str, Files] = {}
    channels: dict[str, dict[int, FileRef]] = {}
    extra = []
    for case in VolumeReader().find(folder):
        first = case.all_files()[0].path
        if first is None:
            continue
        is_file = is_volume_file(first)
        key = _key(first, folder) if is_file else first.parent.relative_to(folder).as_posix()
        channel = CHANNEL.fullmatch(key) if is_file else None
        if key in known:
            if key in found:
                raise DataError(
                    f"two volumes are called {key}",
                    found=f"{first.name} and another",
                    hint="keep one of them",
                )
            found[key] = case.files
        elif channel and channel[1] in known:
            channels.setdefault(channel[1], {})[int(channel[2])] = FileRef(path=first)
        else:
            extra.append(case.id)
    for key, numbered in channels.items():
        ordered = tuple(numbered[number] for number in sorted(numbered))
        found[key] = {IMAGE: ordered if len(ordered) > 1 else ordered[0]}
    return found, extra


def _same_channels(found: Mapping[str, Files]) -> tuple[dict[str, Files], list[str]]:
    """Leave out volumes with fewer channels than the others."""
    counts = {key: _channels(files) for key, files in found.items()}
    most = max(counts.values(), default=1)
    short = sorted(key for key, n in counts.items() if n < most)
    kept = {key: files for key, files in found.items() if counts[key] == most}
    if not short:
        return kept, []
    return kept, [f"{len(short)} volumes with fewer than {most} channels, left out: {listing(short)}"]


def _channels(files: Files) -> int:
    value = files[IMAGE]
    if isinstance(value, tuple) and value[0].path is not None and is_volume_file(value[0].path):
        return len(value)
    return 1


def _key(path: Path, folder: Path) -> str:
    return path.with_name(stem(path)).relative_to(folder).as_posix()


def _patient_pattern(regex: str | None) -> re.Pattern[str] | None:
    if regex is None:
        return None
    try:
        pattern = re.compile(regex)
    except re.error as error:
        raise DataError(f"--patient-id {regex!r} is no regular expression", found=error) from None
    if pattern.groups != 1:
        raise DataError(
            f"--patient-id {regex!r} must mark the patient",
            found=f"{pattern.groups} pairs of parentheses",
            expected="one pair",
            hint=r"for instance '^([^/_]+)_' takes what stands before the first '_' of the name",
        )
    return pattern


def _patient(pattern: re.Pattern[str], key: str) -> str:
    match = pattern.search(key)
    if match and match[1]:
        return match[1]
    raise DataError(
        f"--patient-id {pattern.pattern!r} finds no patient in {key}",
        expected="a patient in the name of every volume, without its ending",
        hint="widen the expression",
    )
