"""What masks predicted earlier are worth: a prediction's folder beside a labelled data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy.typing as npt

from tessera.core.bundle.bundle import Bundle
from tessera.core.data.case import Case, FileRef, MaskReader
from tessera.core.data.geometry import Geometry
from tessera.core.data.hashing import InputHasher
from tessera.core.errors import ConfigError, DataError, TesseraError
from tessera.core.evaluation.mask_predictions import MaskPredictions, MaskScores
from tessera.core.inference.ledger import Ledger, Row

MASK = "predicted"


def bundle_of_predictions(folder: Path) -> Bundle:
    """The bundle that a prediction's folder was made with."""
    with Ledger.read(folder) as ledger:
        path = Path(ledger.identity().bundle_path)
    if not path.is_dir():
        raise DataError(
            f"the bundle that {folder} was made with is not there",
            found=f"no folder {path}",
            hint="put it back; its classes and pipeline are needed to score the masks",
        )
    return Bundle.load(path)


def score_predicted(
    folder: Path, bundle: Bundle, cases: Sequence[Case], *, target_name: str
) -> tuple[MaskPredictions, dict[str, str]]:
    """Scores of the masks in a prediction's folder, and why cases have none.

    Cases are found by the content of their files, so their names may differ from those of the prediction.
    """
    reader = bundle.pipeline.resolve("reader")(bundle.config)
    if not bundle.pipeline.scores or not isinstance(reader, MaskReader):
        raise ConfigError(
            f"the predictions of pipeline {bundle.pipeline.name} are no masks",
            hint="tessera evaluate BUNDLE --data ... predicts and evaluates in one go",
        )
    judge: MaskScores = bundle.pipeline.resolve("scores")(bundle.config, bundle.card.target)
    with Ledger.read(folder) as ledger:
        rows = {row.input_hash: row for row in ledger.rows(full=False) if row.input_hash}
    hasher = InputHasher()
    found: dict[str, Mapping[str, float]] = {}
    failures: dict[str, str] = {}
    for case in cases:
        try:
            row = rows.get(hasher.hash(case.all_files(), case.select))
            mask = _predicted(reader, folder, case, row)
            reference = _read(reader, case, target_name)
            grid = _grid(reader, case)
            if mask.shape != reference.shape:
                raise DataError(
                    f"case {case.id}: the predicted mask has another shape",
                    found=mask.shape,
                    expected=reference.shape,
                )
            found[case.id] = judge.case(mask, reference, grid)
        except (TesseraError, OSError, ValueError) as error:
            failures[case.id] = error.one_line() if isinstance(error, TesseraError) else str(error)
    if not found:
        raise DataError(
            f"no mask in {folder} belongs to a labelled case",
            found="; ".join(f"{name}: {cause}" for name, cause in list(failures.items())[:3]),
            hint="predict the same files that the manifest lists",
        )
    scored = [case for case in cases if case.id in found]
    predictions = MaskPredictions.of(
        [found[case.id] for case in scored],
        case_id=[case.id for case in scored],
        group=[case.group for case in scored],
        fold=[case.split for case in scored],
    )
    return predictions, failures


def _predicted(reader: MaskReader, folder: Path, case: Case, row: Row | None) -> npt.NDArray[Any]:
    """The mask (*S) that was written for a case."""
    if row is None:
        raise DataError(f"case {case.id} was not predicted")
    if not row.done:
        raise DataError(f"case {case.id} has no mask", found=row.error or row.status)
    refused = []
    for name in sorted(row.outputs):
        labelled = replace(case, targets={MASK: FileRef(path=folder / name)})
        try:
            return _read(reader, labelled, MASK)
        except (TesseraError, OSError, ValueError) as error:  # another kind of file
            refused.append(f"{name}: {error}")
    raise DataError(
        f"case {case.id} has no mask that can be read again",
        found="; ".join(refused) or "no files",
        hint="predict with --formats nifti as well",
    )


def _read(reader: MaskReader, case: Case, target: str) -> npt.NDArray[Any]:
    source = reader.open_mask(case, target)
    try:
        classes: npt.NDArray[Any] = source.read()["input"][0].numpy()
    finally:
        source.close()
    return classes


def _grid(reader: MaskReader, case: Case) -> Geometry:
    source = reader.open(case)
    try:
        return source.grid
    finally:
        source.close()
