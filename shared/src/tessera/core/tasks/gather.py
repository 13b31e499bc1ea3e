"""Outputs of all windows of all cases, brought together from all processes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch


@dataclass(frozen=True)
class CaseRows:
    """N windows.

    Args:
        case_id: (N,) the case of each.
        output: (N, K) what the network said, raw.
        target: (N, ...) what it should have said.
    """

    case_id: npt.NDArray[Any]
    output: npt.NDArray[np.float32]
    target: npt.NDArray[Any]

    @cached_property
    def _unique(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        names, first, case = np.unique(self.case_id, return_index=True, return_inverse=True)
        return names, first, case

    @property
    def cases(self) -> npt.NDArray[Any]:
        """(M,) the cases, sorted."""
        return self._unique[0]

    @property
    def case_target(self) -> npt.NDArray[Any]:
        """(M, ...) one target a case."""
        return self.target[self._unique[1]]

    def mean_by_case(self, values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        """Average (N, K) over the windows of each case: (M, K)."""
        case = self._unique[2]
        sums = np.zeros((len(self.cases), values.shape[1]))
        np.add.at(sums, case, values)
        return sums / np.bincount(case, minlength=len(self.cases))[:, None]


def gather_rows(parts: Sequence[CaseRows]) -> CaseRows:
    """One table of the rows of all batches and, where there are several, all processes."""
    everything = list(parts)
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        received: list[Any] = [None] * torch.distributed.get_world_size()
        torch.distributed.all_gather_object(received, everything)
        everything = [part for rank in received for part in rank]
    return CaseRows(
        np.concatenate([part.case_id for part in everything]),
        np.concatenate([part.output for part in everything]),
        np.concatenate([part.target for part in everything]),
    )
