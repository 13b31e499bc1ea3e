"""What masks predicted earlier are worth: a prediction's folder beside a labelled data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy.typing as npt

from tessera.core.bundle.bundle import Bundle
from tessera.core.data.case import Case, FileRef, MaskReader
from tessera.core.data.geometry import Geometry
from tessera.core.data.hashing import InputHasher
from tessera.core.errors import ConfigError, DataError, PlacementError, TesseraError
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
    Where other files were predicted, as the DICOM series of a labelled NIfTI file, they are found by name, as
    ``Predicted.of`` says, and the mask must lie where the label lies; the reader may turn its axes.
    """
    reader = bundle.pipeline.resolve("reader")(bundle.config)
    if not bundle.pipeline.scores or not isinstance(reader, MaskReader):
        raise ConfigError(
            f"the predictions of pipeline {bundle.pipeline.name} are no masks",
            hint="tessera evaluate BUNDLE --data ... predicts and evaluates in one go",
        )
    judge: MaskScores = bundle.pipeline.resolve("scores")(bundle.config, bundle.card.target)
    with Ledger.read(folder) as ledger:
        predicted = Predicted(list(ledger.rows(full=False)))
    found: dict[str, Mapping[str, float]] = {}
    failures: dict[str, str] = {}
    for case in cases:
        try:
            mask = _predicted(reader, folder, case, predicted.of(case))
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
            hint="predict the files that the manifest lists, or series in folders named as its cases",
        )
    scored = [case for case in cases if case.id in found]
    predictions = MaskPredictions.of(
        [found[case.id] for case in scored],
        case_id=[case.id for case in scored],
        group=[case.group for case in scored],
        fold=[case.split for case in scored],
    )
    return predictions, failures


class Predicted:
    """The cases of a prediction, by content and by name.

    Args:
        rows: Of its ledger.
    """

    def __init__(self, rows: Sequence[Row]) -> None:
        self._hasher = InputHasher()
        self._by_hash = {row.input_hash: row for row in rows if row.input_hash}
        self._ids = {row.case.id: row for row in rows}
        self._by_name: dict[str, list[Row]] = {}
        for row in rows:
            for name in {_stem(row.case.id), *_folder(row.case)}:
                self._by_name.setdefault(name, []).append(row)

    def of(self, case: Case) -> Row | None:
        """The row of a labelled case; raises where several fit.

        It has the same content; or the same id, endings apart; or it is a series of files in a folder with
        the case's id as its name; or one of the manifest's further columns holds its id.
        """
        row = self._by_hash.get(self._hasher.hash(case.all_files(), case.select))
        if row is not None:
            return row
        found = {row.case.id: row for row in self._by_name.get(_stem(case.id), [])}
        found |= {value: self._ids[value] for value in case.meta.values() if value in self._ids}
        if len(found) > 1:
            raise DataError(
                f"case {case.id} could be several of the predicted ones",
                found=", ".join(sorted(found)),
                expected="one",
                hint="name the one meant in a column of samples.csv",
            )
        return next(iter(found.values()), None)


def _stem(case_id: str) -> str:
    """The id without its endings."""
    path = PurePosixPath(case_id)
    return path.with_name(path.name.split(".")[0] or path.name).as_posix() if path.name else case_id


def _folder(case: Case) -> set[str]:
    """Name of the folder that holds the files of a series."""
    paths = [reference.path for reference in case.all_files() if reference.path is not None]
    folders = {path.parent.name for path in paths}
    return folders if len(paths) > 1 and len(folders) == 1 else set()


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
        except PlacementError as error:
            raise DataError(
                f"case {case.id}: the mask that was predicted for {row.case.id} does not lie on its scan",
                found=error.found,
                expected=error.expected,
                hint="predict the scan that was labelled; masks are turned here, but never resampled",
            ) from error
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
