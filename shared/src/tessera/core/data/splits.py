"""Which case trains, validates and tests: by group, seeded, written once, never recomputed (no torch)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case
from tessera.core.data.group_folds import assign_groups, strata
from tessera.core.data.manifest_checks import listing, same_content
from tessera.core.data.manifest_io import csv_text
from tessera.core.errors import DataError

Role = Literal["train", "val", "test", "unused"]
ROLES: tuple[Role, ...] = get_args(Role)
COLUMNS = ("case", "group", "role", "fold")
_PARTS = ("train", "val", "test")
_LOOK_ALIKES = {"training": "train", "valid": "val", "validation": "val", "dev": "val", "testing": "test"}


@dataclass(frozen=True)
class Split:
    """One partition of the cases.

    Args:
        roles: Case id to role.
        groups: Case id to group.
        fold: Name of the fold that is tested, empty when the set has one official split.
        warnings: Remarks for a person, for instance a class without test cases.
    """

    roles: Mapping[str, Role]
    groups: Mapping[str, str]
    fold: str = ""
    warnings: tuple[str, ...] = ()

    def cases(self, cases: Sequence[Case], role: Role) -> tuple[Case, ...]:
        """The cases of that role, in the order given."""
        return tuple(case for case in cases if self.roles.get(case.id) == role)

    def write(self, path: Path) -> None:
        """Write splits.csv, sorted by case."""
        rows = [
            {"case": name, "group": self.groups[name], "role": role, "fold": self.fold}
            for name, role in sorted(self.roles.items())
        ]
        write_atomic(path, csv_text(COLUMNS, rows))

    @classmethod
    def read(cls, path: Path) -> Split:
        """Read splits.csv."""
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"cannot read {path}", found=error, expected="a splits.csv in UTF-8") from None
        reader = csv.DictReader(io.StringIO(text))
        if tuple(reader.fieldnames or ()) != COLUMNS:
            raise DataError(f"{path}: wrong columns", found=reader.fieldnames, expected=", ".join(COLUMNS))
        roles: dict[str, Role] = {}
        groups: dict[str, str] = {}
        folds: set[str] = set()
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if row["role"] not in ROLES:
                raise DataError(f"{where}: unknown role", found=row["role"], expected=", ".join(ROLES))
            if row["case"] in roles:
                raise DataError(f"{where}: case {row['case']} is listed twice")
            roles[row["case"]] = cast(Role, row["role"])
            groups[row["case"]] = row["group"]
            folds.add(row["fold"])
        if len(folds) != 1:
            raise DataError(f"{path}: one fold is expected", found=listing(sorted(folds)) or "no rows")
        return cls(roles, groups, folds.pop())


def fold_names(cases: Sequence[Case], n_folds: int) -> tuple[str, ...]:
    """Folds that can be tested: the official ones, else '1' to 'n'; none for a set with train/val/test."""
    names = {case.split for case in cases} - {""}
    wrong = {name: _LOOK_ALIKES[name.lower()] for name in sorted(names) if name.lower() in _LOOK_ALIKES}
    if wrong:
        raise DataError(
            f"the split is called {', '.join(wrong)}",
            expected="train, val and test, or the names of folds",
            hint="; ".join(f"write {new} instead of {old}" for old, new in wrong.items()),
        )
    if not names:
        return tuple(str(number + 1) for number in range(n_folds))
    parts = names.intersection(_PARTS)
    if parts and parts != names:
        raise DataError(
            "the column split mixes parts and folds",
            found=listing(sorted(names)),
            expected="either train, val and test, or names of folds",
        )
    if parts:
        return ()
    if len(names) < 2:
        raise DataError(
            "the column split names one fold only", found=names.pop(), expected="two folds or more"
        )
    return tuple(sorted(names, key=_natural))


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def make_split(
    cases: Sequence[Case],
    *,
    fold: str | None = None,
    n_folds: int = 5,
    val_fraction: float = 0.15,
    seed: int = 0,
    target: str | None = None,
) -> Split:
    """Give every case one role; no group and no content ends on two sides.

    Official parts (train, val, test) and official folds are obeyed; otherwise folds are made by group,
    with the shares of classes as equal as the groups allow. The order of ``cases`` does not matter.

    Args:
        cases: All cases.
        fold: The fold to test; the first when not given.
        n_folds: Number of folds to make when the set has no official ones.
        val_fraction: Share of the training groups used for validation, unless the set has an official part.
        seed: Of the folds and of the validation part.
        target: Name of the target to balance; cases without it are ``unused``.
    """
    names = fold_names(cases, n_folds)
    used = [case for case in cases if target is None or target in case.targets]
    official = any(case.split for case in cases)
    chosen = _choose_fold(fold, names)
    if not used:
        raise DataError("no case can be used", found=f"{len(cases)} cases without target {target}")
    roles: dict[str, Role] = {case.id: "unused" for case in cases}
    if not names:
        roles |= {case.id: cast(Role, case.split) for case in used if case.split}
    elif official:
        roles |= {case.id: "test" if case.split == chosen else "train" for case in used if case.split}
    else:
        bins = _assign(used, target, [1.0 / n_folds] * n_folds, seed=(seed, 0), purpose=f"{n_folds} folds")
        tested = names.index(chosen)
        roles |= {case.id: "test" if bins[case.group] == tested else "train" for case in used}
    if val_fraction > 0.0 and "val" not in roles.values():
        rest = [case for case in used if roles[case.id] == "train"]
        # the tested fold enters the seed by its number, so that folds do not share their draws
        number = names.index(chosen) + 1 if names else 0
        shares = [1.0 - val_fraction, val_fraction]
        bins = _assign(rest, target, shares, seed=(seed, number), purpose="training and validation")
        roles |= {case.id: "val" for case in rest if bins[case.group] == 1}
    if "train" not in roles.values():
        raise DataError(
            f"no case is left for training in fold '{chosen}'",
            found=f"{len(used)} usable cases, split {listing(sorted({case.split for case in used}))}",
            expected="cases to train on beside those to test on",
        )
    split = Split(roles, {case.id: case.group for case in cases}, chosen)
    check_leaks(cases, split)
    remarks = tuple(check_classes(cases, split, target)) if target is not None else ()
    return Split(split.roles, split.groups, chosen, remarks)


def _choose_fold(fold: str | None, names: Sequence[str]) -> str:
    if not names:
        if fold is None:
            return ""
        raise DataError(
            "this set has an official split into train, val and test, and no folds",
            found=f"fold {fold}",
            hint="leave --fold out",
        )
    if fold is None:
        return names[0]
    if fold not in names:
        raise DataError(
            f"there is no fold '{fold}'", expected=f"one of {listing(names)}", hint="or all folds"
        )
    return fold


def _assign(
    cases: Sequence[Case], target: str | None, shares: Sequence[float], *, seed: tuple[int, int], purpose: str
) -> dict[str, int]:
    n_groups = len({case.group for case in cases})
    if n_groups < len(shares):
        raise DataError(
            f"too few groups for {purpose}",
            found=f"{n_groups} groups in {len(cases)} cases",
            expected=f"at least {len(shares)} groups",
            hint="fewer folds, more recordings, or a finer group (tessera data make --group-regex)",
        )
    labels = strata([None if target is None else case.targets[target] for case in cases])
    rng = np.random.default_rng(seed)
    return assign_groups([case.group for case in cases], labels, shares, rng)


def check_leaks(cases: Sequence[Case], split: Split) -> None:
    """Raise when a group or a content lies on two sides of the split."""
    sides: dict[str, dict[str, str]] = {}
    for case in cases:
        role = split.roles.get(case.id, "unused")
        if role != "unused":
            sides.setdefault(case.group, {}).setdefault(role, case.id)
    leaks = {group: found for group, found in sides.items() if len(found) > 1}
    if leaks:
        raise DataError(
            f"{len(leaks)} groups lie on two sides of the split",
            found="; ".join(f"{group}: {_sides(found)}" for group, found in list(leaks.items())[:5]),
            expected="every group in one of train, val and test",
            hint="correct the columns group and split of samples.csv",
        )
    doubled = []
    for members in same_content(cases):
        found = {split.roles.get(case.id, "unused"): case.id for case in members}
        found.pop("unused", None)
        if len(found) > 1:
            doubled.append(_sides(cast(Mapping[str, str], found)))
    if doubled:
        raise DataError(
            f"{len(doubled)} contents lie on two sides of the split",
            found="; ".join(doubled[:5]),
            expected="cases with the same content on one side",
            hint="remove the copies, or give them the same group",
        )


def _sides(found: Mapping[str, str]) -> str:
    return ", ".join(f"{case_id} in {role}" for role, case_id in found.items())


def check_classes(cases: Sequence[Case], split: Split, target: str) -> list[str]:
    """Warn of classes a part lacks; raise when training cannot work (one class only, no positive at all)."""
    present: dict[str, set[str]] = {role: set() for role in ROLES}
    kinds = set()
    for case in cases:
        value = case.targets.get(target)
        if isinstance(value, str | tuple):
            names = {
                name for name in ((value,) if isinstance(value, str) else value) if isinstance(name, str)
            }
            if value and not names:
                continue  # measured numbers
            kinds.add(type(value))
            present[split.roles.get(case.id, "unused")] |= names
    if not kinds:
        return []
    everything = set().union(*(present[role] for role in _PARTS))
    if len(present["train"]) < (2 if str in kinds else 1):
        raise DataError(
            f"the training part of fold '{split.fold}' has too few classes of {target}",
            found=listing(sorted(present["train"])) or "no positive case",
            expected=f"cases of {listing(sorted(everything))}",
            hint="another fold or seed, or more cases of the rare classes",
        )
    remarks = []
    for role, what in (("train", "training"), ("val", "validation"), ("test", "test")):
        lacking = sorted(everything - present[role])
        if lacking and role in split.roles.values():
            remarks.append(f"the {what} part of fold '{split.fold}' has no case of {listing(lacking)}")
    return remarks


def load_or_make_split(path: Path, cases: Sequence[Case], **options: object) -> Split:
    """The split in ``path`` when there is one, else a new one, written there.

    Args:
        path: The run's splits.csv.
        cases: All cases; they must be those of the file.
        options: Passed to ``make_split``.
    """
    if not path.exists():
        split = make_split(cases, **options)  # type: ignore[arg-type]
        split.write(path)
        return split
    split = Split.read(path)
    groups = {case.id: case.group for case in cases}
    changed = sorted({name for name, _ in set(groups.items()) ^ set(split.groups.items())})
    if changed:
        raise DataError(
            f"{path} was made for other cases",
            found=f"differences in {listing(changed)}",
            expected="the same cases with the same groups",
            hint="start a new run, or use the manifest this run was started with",
        )
    check_leaks(cases, split)
    return split
