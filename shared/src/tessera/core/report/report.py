"""Writes the report of a run or of predictions: one HTML page and the CSV files behind it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tessera.core.data.atomic import replacing
from tessera.core.data.case import Case
from tessera.core.errors import ConfigError, DataError
from tessera.core.report.case_media import cases_of_dataset, figures_of
from tessera.core.report.media import CaseFigures
from tessera.core.report.page import Page
from tessera.core.report.predictions_page import predictions_page
from tessera.core.report.predictions_record import build_predictions_record
from tessera.core.report.render import render, to_csv
from tessera.core.report.run_page import run_page
from tessera.core.report.run_record import build_run_record

PAGE_NAME = "report.html"
_RUN_FILES = ("config.yaml",)
_PREDICTION_FILES = ("ledger.sqlite", "run.json", "predictions.csv", "failures.csv")
_log = logging.getLogger(__name__)


class Report:
    """The report of a run folder or of a folder of predictions.

    Args:
        folder: The folder.
        cases: Cases by id, to draw the worst of them; looked up when not given.
        figures: Draws a case; the pipeline's when not given.
    """

    def __init__(
        self,
        folder: Path | str,
        *,
        cases: Mapping[str, Case] | None = None,
        figures: CaseFigures | None = None,
    ) -> None:
        self.folder = Path(folder)
        self._cases = cases
        self._figures = figures
        self._is_run = any((self.folder / name).is_file() for name in _RUN_FILES)
        if not self._is_run and not any((self.folder / name).is_file() for name in _PREDICTION_FILES):
            raise DataError(
                f"{self.folder} is neither a run nor a folder of predictions",
                found="none of the files below" if self.folder.is_dir() else "no such folder",
                expected=f"{', '.join(_RUN_FILES)} (a run), or one of {', '.join(_PREDICTION_FILES)}",
                hint="give the folder that tessera train or tessera predict --out wrote",
            )

    def build(self) -> Page:
        """The page as data."""
        return self._run_page() if self._is_run else self._predictions_page()

    def write(self, path: Path | str | None = None) -> Path:
        """Write the page, by default ``report.html`` in the folder, and its CSV files in ``report/``.

        Returns:
            Where the page lies.
        """
        target = self.folder / PAGE_NAME if path is None else Path(path)
        if target.suffix.lower() not in (".html", ".htm"):
            raise ConfigError(f"cannot write the report to {target}", expected="a name that ends in .html")
        page = self.build()
        numbers = target.with_suffix("")
        for name, table in page.tables().items():
            _write(numbers / f"{name}.csv", to_csv(table))
        _write(target, render(page, folder=numbers.name))
        _log.info("wrote %s", target)
        return target

    def _run_page(self) -> Page:
        record = build_run_record(self.folder)
        cases = cases_of_dataset(record.manifest) if self._cases is None else self._cases
        return run_page(record, cases=cases, drawing=self._drawing(record.config))

    def _predictions_page(self) -> Page:
        record = build_predictions_record(self.folder)
        cases = record.cases if self._cases is None else self._cases
        return predictions_page(record, cases=cases, drawing=self._drawing(record.config))

    def _drawing(self, config: Mapping[str, Any]) -> CaseFigures | None:
        return self._figures or figures_of(config)


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        # A file name that is not UTF-8 must not stop the report.
        temporary.write_bytes(text.encode("utf-8", errors="replace"))
