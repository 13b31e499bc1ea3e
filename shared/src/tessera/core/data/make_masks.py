"""Build a manifest from a folder of cases and a folder of masks (no torch)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tessera.core.config import validate
from tessera.core.data.case import Case
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.make import MadeManifest, one_group_for_copies, root_from
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError


@dataclass(frozen=True, kw_only=True)
class MaskPairs:
    """Cases with their masks, as a field finds them.

    Args:
        cases: Each with a file under the target's name; unusable ones are left out already.
        classes: Names of the masks' values, the background first.
        unreadable: (case, reason) of those left out.
        warnings: Remarks for a person.
    """

    cases: tuple[Case, ...]
    classes: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()


def make_mask_manifest(
    pairs: MaskPairs,
    *,
    folders: Sequence[Path],
    out: Path,
    target: str = "label",
    overwrite: bool = False,
    progress: Callable[[int], None] | None = None,
) -> MadeManifest:
    """Save the manifest of paired cases.

    Args:
        pairs: The cases.
        folders: Where their files are; the root is what these have in common.
        out: Folder of the manifest; its name is the id.
        target: Name of the target.
        overwrite: Replace another manifest in ``out``.
        progress: Called with the number of bytes of each block hashed.
    """
    if not pairs.cases:
        reasons = "; ".join(f"{name}: {reason}" for name, reason in pairs.unreadable[:3])
        raise DataError(
            "no case with a usable mask is left",
            found=f"{len(pairs.unreadable)} that cannot be used: {reasons}",
            hint="the reasons say what to repair; --fix-affine for masks that only lie elsewhere",
        )
    root = Path(os.path.commonpath([folder.resolve() for folder in folders]))
    places = {
        "id": out.name,
        "root": root_from(root, out),
        "role": next(iter(pairs.cases[0].files)),
        "targets": {target: TargetSpec(kind="mask", classes=pairs.classes)},
    }
    info = validate(DatasetInfo, places, source=f"manifest {out.name}")
    hashed = Manifest.create(info, pairs.cases, folder=out, progress=progress)
    cases, duplicates = one_group_for_copies(list(hashed.cases))
    manifest = Manifest.create(info, cases, folder=out)
    manifest.save(out, overwrite=overwrite)
    return MadeManifest(
        manifest=manifest,
        columns={},
        unlabelled=(),
        without_file=(),
        unreadable=pairs.unreadable,
        duplicates=duplicates,
        warnings=(*pairs.warnings, *manifest.warnings),
    )
