"""The network's part of a prediction: fixed batches in, fused answers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tessera.core.bundle.card import MemberFusion
from tessera.core.errors import ConfigError
from tessera.core.inference.extras import Extras
from tessera.core.inference.fusion import FusionRule, Task, fuse, probabilities
from tessera.core.inference.member_fusion import fuse_members
from tessera.core.inference.tta import Pairs, changes

Input = Tensor | npt.NDArray[np.float32]
Answers = Tensor | npt.NDArray[np.float32]
# While a batch's maps live, the memory the network needs next stays with the process. Given up, it went back
# to the system between batches and came again page by page: a quarter of a small network's time (glibc).
_KEPT_BYTES = 64 * 2**20


class ForwardPass:
    """Runs all members and test-time changes on batches of exactly ``batch_size`` rows and fuses them.

    A row's last bits depend on the batch's size and on the row's place in it (kernels treat the rows of a
    block and of its rest differently), so callers who need equal bytes give a row the same place each
    time; see ``Slots``. Which other rows are in the batch does not matter.

    Args:
        networks: Members, each (B, C, *S) -> (B, K) raw output; of masks (B, K, *S).
        task: ``class`` and ``tags`` give probabilities; ``number`` and ``numbers`` means and log variances;
            ``mask`` gives logits of each element, the mean over changes and members.
        batch_size: Rows the networks always see; missing ones are zeros.
        device: Where the networks run.
        temperature: Logits are divided by it.
        fusion: How members and changes become one answer.
        tta: Names of test-time changes.
        member_fusion: How the members become one answer, where not by ``fusion``.
        mirror_swaps: Masks only: spatial axis to the pairs of classes, such as left and right, that change
            places when the axis is reversed.
        extras: What follows each answer (K,) of the unchanged input; None: nothing does.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        *,
        task: Task,
        batch_size: int,
        device: torch.device | str = "cpu",
        temperature: float = 1.0,
        fusion: FusionRule = "mean",
        tta: Sequence[str] = (),
        member_fusion: MemberFusion | None = None,
        mirror_swaps: Mapping[int, Pairs] | None = None,
        extras: Extras | None = None,
    ) -> None:
        if not networks or batch_size < 1:
            raise ConfigError(
                "a prediction needs at least one network and one row a batch",
                found=f"{len(networks)} networks, batch_size {batch_size}",
            )
        if task not in ("class", "tags") and fusion != "mean":
            raise ConfigError(
                f"fusion '{fusion}' means nothing for {task}s", expected="mean", hint="inference.fusion: mean"
            )
        if member_fusion is not None:
            _check_fusion(member_fusion, task=task, members=len(networks))
        self.task: Task = task
        self.batch_size = batch_size
        self.fusion: FusionRule = fusion
        self._device = torch.device(device)
        self._networks = [network.to(self._device).eval() for network in networks]
        self._temperature = temperature
        self._tta = tuple(tta)
        self._member_fusion = member_fusion
        self._mirror_swaps = mirror_swaps
        self._kept: Tensor | None = None
        self.extras = extras

    def __call__(self, inputs: Sequence[Input]) -> npt.NDArray[np.float32]:
        """Inputs (C, *S) -> answers (n, K) or (n, K, *S); input i takes row i modulo ``batch_size``."""
        size = self.batch_size
        parts = [
            _to_numpy(self.batch(inputs[i : i + size])[: len(inputs[i : i + size])])
            for i in range(0, len(inputs), size)
        ]
        return np.concatenate(parts) if parts else np.zeros((0, 0), dtype=np.float32)

    def batch(self, rows: Sequence[Input | None]) -> Answers:
        """Up to ``batch_size`` rows (C, *S), ``None`` for a free place -> answers (batch_size, K) and extras.

        Answers of masks are (batch_size, K, *S) and stay on the network's device.
        """
        batch = self._assemble(rows)
        if self.task == "mask":
            return self._maps(batch)
        answers = []
        with torch.inference_mode(), np.errstate(invalid="ignore", over="ignore"):
            for change in changes(self._tta, spatial_dims=batch.dim() - 2):
                changed = change.apply(batch)
                members = [self._answer(network(changed)) for network in self._networks]
                answers += members if self._member_fusion is None else [self._fused(members)]
        fused = fuse(answers, task=self.task, rule=self.fusion).astype(np.float32)
        if self.extras is None:
            return fused
        return np.concatenate([fused, self.extras.of(self._networks, batch)], axis=1)

    def _assemble(self, rows: Sequence[Input | None]) -> Tensor:
        shape = next(tuple(row.shape) for row in rows if row is not None)
        batch = torch.zeros((self.batch_size, *shape), dtype=torch.float32)
        for place, row in enumerate(rows):
            if row is not None:
                batch[place] = torch.as_tensor(row)
        return batch.to(self._device)

    def _maps(self, batch: Tensor) -> Tensor:
        """Logits (B, K, *S) -> their mean over changes and members, float32."""
        total: Tensor | None = None
        count = 0
        with torch.inference_mode():
            found = changes(self._tta, spatial_dims=batch.dim() - 2, mirror_swaps=self._mirror_swaps)
            for change in found:
                changed = change.apply(batch)
                for network in self._networks:
                    maps = change.restore(network(changed).float())
                    # A sum of its own: a network may give its input, or the same memory again.
                    total = maps if total is None else total.add_(maps) if count > 1 else total + maps
                    count += 1
            if total is None:
                raise RuntimeError("the unchanged input is always there")
            total = total if count == 1 else total.div_(count)
        self._kept = total if total.nbytes <= _KEPT_BYTES else None
        return total

    def _fused(self, members: list[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
        if self._member_fusion is None or self.task not in ("class", "tags"):
            raise TypeError(f"{self.task}s have no fusion of their own")  # refused when it was made
        return fuse_members(members, self._member_fusion, task=self.task)

    def _answer(self, raw: Tensor) -> npt.NDArray[np.float64]:
        values = raw.float().cpu().numpy()
        # A sigmoid would hide an infinite logit; whoever stitches reports NaN with its place.
        values = np.where(np.isfinite(values).all(axis=-1, keepdims=True), values, np.nan)
        if self.task in ("number", "numbers"):
            return values.astype(np.float64)
        # In float64: torch's own sigmoid and exp differ in the last bit with the element's place.
        return probabilities(values, task=self.task, temperature=self._temperature)


def _to_numpy(answers: Answers) -> npt.NDArray[np.float32]:
    return answers.cpu().numpy() if isinstance(answers, Tensor) else answers


def _check_fusion(fusion: MemberFusion, *, task: Task, members: int) -> None:
    if task not in ("class", "tags"):
        raise ConfigError(
            f"members that predict {task}s are not weighed", hint="leave calibration.fusion out"
        )
    found = len(fusion.weights)
    if fusion.matrix:
        found = len(fusion.matrix[0]) // (len(fusion.matrix) if task == "class" else 1)
    if found != members:
        raise ConfigError("the fusion is for another number of members", found=found, expected=members)
