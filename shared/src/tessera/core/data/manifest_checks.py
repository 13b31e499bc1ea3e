"""What makes a set of cases unfit: doubled content, contradicting labels, one class only (no torch)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from tessera.core.data.case import Case, FileRef, Target
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError

SHOWN = 10  # names listed in a message before "and n more"


def listing(names: Iterable[str]) -> str:
    """Names for a message, cut after ten."""
    items = list(names)
    rest = f" and {len(items) - SHOWN} more" if len(items) > SHOWN else ""
    return ", ".join(items[:SHOWN]) + rest


def content_key(case: Case) -> str | None:
    """The same text for cases with the same content (files and selection); ``None`` without hashes."""
    digests = [reference.sha256 for reference in case.all_files()]
    if not digests or None in digests:
        return None
    return json.dumps([digests, dict(case.select)], sort_keys=True)


def same_content(cases: Iterable[Case]) -> list[tuple[Case, ...]]:
    """Sets of two or more cases with the same content."""
    found: dict[str, list[Case]] = {}
    for case in cases:
        key = content_key(case)
        if key is not None:
            found.setdefault(key, []).append(case)
    return [tuple(members) for members in found.values() if len(members) > 1]


def check_duplicates(cases: Iterable[Case]) -> list[str]:
    """Warn of equal contents in different groups; raise when equal contents have different targets."""
    warnings = []
    for members in same_content(cases):
        names = listing(case.id for case in members)
        labels = {case.id: _labels(case) for case in members}
        if any(label != labels[members[0].id] for label in labels.values()):
            raise DataError(
                f"the same content has different labels: {names}",
                found="; ".join(f"{name}: {label}" for name, label in list(labels.items())[:SHOWN]),
                expected="one label for one content",
                hint="decide which label is right and remove the other rows",
            )
        groups = sorted({case.group for case in members})
        if len(groups) > 1:
            warnings.append(
                f"the same content in different groups ({listing(groups)}): {names}; "
                "a split may refuse it: give them one group or remove all but one"
            )
    return warnings


def _labels(case: Case) -> Mapping[str, Target | None]:
    """The targets as they can be compared: a mask by its content, wherever its file lies."""
    return {
        name: value.sha256 if isinstance(value, FileRef) else value for name, value in case.targets.items()
    }


def check_trainable(cases: Sequence[Case], name: str, spec: TargetSpec) -> None:
    """Raise unless the labelled cases can teach something: a second class, a positive, a second number."""
    values = [case.targets[name] for case in cases if name in case.targets]
    if not values:
        raise DataError(f"no case has a value for target {name}", found=f"{len(cases)} cases without it")
    if spec.kind == "class":
        present = sorted({str(value) for value in values})
        if len(present) < 2:
            raise DataError(
                f"target {name} has one class only",
                found=f"{len(values)} cases, all {present[0]}",
                expected="cases of at least two classes",
                hint="add cases of another class, for instance recordings without the sound",
            )
    elif spec.kind == "tags":
        positives = {tag for value in values if isinstance(value, tuple) for tag in value}
        if not positives:
            raise DataError(
                f"target {name}: no case carries any tag", expected=f"some of {listing(spec.classes)}"
            )
    elif spec.kind == "number" and len(set(values)) < 2:
        raise DataError(f"target {name} is the same number in every case", found=values[0])
    elif spec.kind == "numbers":
        columns = zip(*(value for value in values if isinstance(value, tuple)), strict=True)
        constant = [part for part, column in zip(spec.classes, columns, strict=True) if len(set(column)) < 2]
        if constant:
            raise DataError(f"target {name}: {listing(constant)} is the same number in every case")
