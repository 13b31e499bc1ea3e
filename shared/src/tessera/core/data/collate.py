"""The one way samples become a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from tessera.core.data.sample import Batch, Sample


def collate(samples: Sequence[Sample]) -> Batch:
    """Stack samples to a batch of B rows: tensors (B, ...), everything else as lists.

    Targets of one shape are stacked; ragged ones stay a list. A sample without ``weight`` weighs 1.
    """
    batch: Batch = {
        "input": torch.stack([sample["input"] for sample in samples]),
        "weight": torch.tensor([sample.get("weight", 1.0) for sample in samples], dtype=torch.float32),
    }
    for key in ("geometry", "case_id", "region"):
        if all(key in sample for sample in samples):
            cast(dict[str, Any], batch)[key] = [cast(dict[str, Any], sample)[key] for sample in samples]
    if all("target" in sample for sample in samples):
        batch["target"] = _stack_targets([sample["target"] for sample in samples])
    return batch


def _stack_targets(targets: Sequence[Any]) -> Tensor | list[Any]:
    if not all(isinstance(target, Tensor | np.ndarray | np.generic | int | float) for target in targets):
        return list(targets)
    tensors = [torch.as_tensor(target) for target in targets]
    if any(tensor.shape != tensors[0].shape for tensor in tensors):
        return tensors
    return torch.stack(tensors)
