"""Prediction from Python: a path in, plain rows out, nothing written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch

from tessera.core.data.case import Case
from tessera.core.errors import DataError
from tessera.core.inference.interfaces import CaseResult
from tessera.core.inference.reading import one_line
from tessera.core.inference.single import result_of
from tessera.core.inference.steps import Steps

if TYPE_CHECKING:
    from tessera.core.data.targets import TargetSpec

_DEFAULT_THRESHOLD = 0.5  # of a tag without a fitted threshold


class Predictor:
    """A model ready to be asked.

    Args:
        steps: The parts of its prediction.
        target: What it predicts.
        thresholds: Lowest probability per tag; 0.5 where missing.
    """

    def __init__(
        self, steps: Steps, target: TargetSpec, *, thresholds: dict[str, float] | None = None
    ) -> None:
        self.steps = steps
        self.target = target
        self._thresholds = thresholds or {}

    @classmethod
    def from_bundle(
        cls, path: Path | str, *, device: torch.device | str = "auto", threads: int | None = None
    ) -> Predictor:
        """Open a bundle; ``device`` is auto, cpu or cuda."""
        from tessera.core.bundle.bundle import Bundle

        bundle = Bundle.load(path)
        steps = Steps.from_bundle(bundle, device=device, threads=threads)
        return cls(steps, bundle.card.target, thresholds=bundle.calibration.thresholds)

    def predict(self, path: Path | str) -> list[dict[str, Any]]:
        """One row a case of a file or folder, sorted by case.

        A row has ``case``, the answer (``class`` and ``probability``, or ``tags``, or ``mean`` and ``std``),
        ``probabilities`` by class, and ``windows``: the same for each region, with ``start`` and ``stop`` on
        the input's grid. Of a mask, which is ``result(case).mask``, it has ``voxels`` by class and ``flags``.
        In a folder, a file that cannot be read gives a row with ``case`` and ``error``.
        """
        path = Path(path)
        if not path.exists():
            raise DataError(f"there is no file or folder {path}", hint="check the path")
        cases = sorted(self.steps.reader.find(path), key=lambda case: case.id)
        if not cases:
            raise DataError(f"{path} holds nothing this model reads", hint="tessera info shows its inputs")
        if path.is_file():
            return [self.row(self.result(case)) for case in cases]
        rows = []
        for case in cases:
            try:
                rows.append(self.row(self.result(case)))
            except Exception as error:
                rows.append({"case": case.id, "error": one_line(error)})
        return rows

    def result(self, case: Case) -> CaseResult:
        """One case's result, equal to the last bit to that of a run over many cases."""
        return result_of(self.steps, case)

    def row(self, result: CaseResult) -> dict[str, Any]:
        """A result as plain values; of a mask the voxels of each class, and the remarks."""
        if self.target.kind == "mask":
            voxels = dict(zip(self.target.classes, map(int, result.summary), strict=True))
            return {"case": result.case.id, "voxels": voxels, "flags": list(result.flags)}
        windows = [
            {"start": region.start, "stop": region.stop, **self._answer(scores)}
            for region, scores in zip(result.regions, result.scores, strict=True)
        ]
        return {"case": result.case.id, **self._answer(result.summary), "windows": windows}

    def _answer(self, values: Sequence[float] | npt.NDArray[np.float32]) -> dict[str, Any]:
        numbers = [float(value) for value in values]
        if self.target.is_measured:
            found = [
                {"mean": mean, "std": float(np.exp(0.5 * log_variance)), "unit": self.target.unit}
                for mean, log_variance in zip(*np.split(np.array(numbers), 2), strict=True)
            ]
            if self.target.kind == "number":
                return found[0]
            return dict(zip(self.target.classes, found, strict=True))
        named = dict(zip(self.target.classes, numbers, strict=True))
        if self.target.kind == "tags":
            chosen = [
                name for name, p in named.items() if p >= self._thresholds.get(name, _DEFAULT_THRESHOLD)
            ]
            return {"tags": chosen, "probabilities": named}
        best = max(named, key=named.__getitem__)
        return {"class": best, "probability": named[best], "probabilities": named}
