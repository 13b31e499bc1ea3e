"""A class for every element: masks of one to three dimensions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.core.backbone.losses.dice import deep_supervision_weights, overlap_loss, reduced_classes
from tessera.core.backbone.own_losses import HasTrainingLosses
from tessera.core.data.sample import Batch
from tessera.core.data.targets import TargetSpec, class_columns
from tessera.core.errors import DataError
from tessera.core.network import Network
from tessera.core.run_config import DiceCrossEntropyConfig
from tessera.core.tasks.base import Better, Task
from tessera.core.tasks.gather import CaseRows
from tessera.core.tasks.step import Stage, StepOutput

logger = logging.getLogger(__name__)

PATIENCE = 5  # validations at 0 before a class is remarked on
_BOTH, _FOUND, _TRUE = range(3)


def mask_values(spec: TargetSpec) -> Mapping[str, Better]:
    """The validation values of a mask, and which direction is better."""
    names = [f"val_dice_{name}" for name in class_columns(spec.classes)[1:]]
    return {"val_loss": "min", "val_dice": "max", **dict.fromkeys(names, "max")}


class Segmentation(Task):
    """Cross-entropy and soft Dice of logits (B, K, *S) and classes (B, *S); several heads in training.

    Class weights and smoothing act in training only. Validation keeps counts of elements, never maps: Dice is
    that of all windows together.

    Args:
        network: Gives logits (B, K, *S); in training perhaps a list of them, finest first.
        spec: The target.
        loss: Parts of the loss.
        label_smoothing: Share of the target spread over all classes, cross-entropy only.
        class_weights: (K,) factor of each class's cross-entropy.
        options: Those of ``Task``.
    """

    def __init__(
        self,
        network: Network,
        *,
        spec: TargetSpec,
        loss: DiceCrossEntropyConfig,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.better = mask_values(spec)  # type: ignore[misc]  # the classes are known here first
        self.spec = spec
        self.loss = loss
        self.label_smoothing = label_smoothing
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.seen: Tensor
        self.register_buffer("seen", torch.zeros(len(spec.classes), dtype=torch.long), persistent=False)
        self._waited = np.zeros(len(spec.classes), dtype=np.int64)

    # the hooks

    def answer(self, features: Tensor, stage: Stage) -> Any:
        """Logits of all heads in training, of the finest one else."""
        if stage == "train":
            return self.network.training_answer(features)
        return self.network.answer(features)

    def losses(self, output: Any, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        """Cross-entropy in nats and minus the soft Dice, (B,), weighted over the heads.

        In training a network that has losses of its own is trained by them.
        """
        body = self.network.body
        if stage == "train" and isinstance(body, HasTrainingLosses):
            return body.training_losses(output, target)
        heads = output if isinstance(output, list) else [output]
        _check_grid(heads[0], target)
        parts: dict[str, Tensor] = {}
        for head, share in zip(heads, deep_supervision_weights(len(heads)), strict=True):
            classes = reduced_classes(target, head.shape[2:])
            for name, value in self._head_losses(head, classes, stage).items():
                parts[name] = parts.get(name, 0.0) + share * value
        return parts

    def _head_losses(self, logits: Tensor, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        parts: dict[str, Tensor] = {}
        options = self.loss
        if options.ce_weight:
            parts["cross_entropy"] = options.ce_weight * self._cross_entropy(logits, target, stage)
        if options.dice_weight:
            parts["dice"] = options.dice_weight * overlap_loss(
                logits,
                target,
                alpha=options.tversky_alpha,
                beta=options.tversky_beta,
                over_batch=options.batch_dice and stage == "train",
            )
        return parts

    def _cross_entropy(self, logits: Tensor, target: Tensor, stage: Stage) -> Tensor:
        """(B,) mean over the elements, by the weights of their classes."""
        axes = tuple(range(1, target.ndim))
        if stage != "train":
            return F.cross_entropy(logits, target, reduction="none").mean(dim=axes)
        loss = F.cross_entropy(
            logits,
            target,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        if self.class_weights is None:
            return loss.mean(dim=axes)
        return loss.sum(dim=axes) / self.class_weights[target].sum(dim=axes).clamp_min(1e-8)

    def metrics(self, rows: CaseRows) -> dict[str, float]:
        """Dice of each foreground class over all windows, and their mean where there is anything to find."""
        both, found, true = rows.target.sum(axis=0, dtype=np.float64)
        size = found + true
        dice = np.divide(2 * both, size, out=np.full(len(size), np.nan), where=size > 0)[1:]
        self._remark_on_zeros(np.where(true[1:] > 0, dice, np.nan))
        mean = float(np.nanmean(dice)) if np.isfinite(dice).any() else float("nan")
        names = list(self.better)[2:]
        return {"val_dice": mean, **dict(zip(names, dice.tolist(), strict=True))}

    # what is kept of a batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch; counts which classes it held."""
        loss = super().training_step(batch, batch_idx)
        target = cast(StepOutput, self.last).target.flatten(1)
        self.seen += torch.stack([(target == k).any(1).sum() for k in range(len(self.seen))])
        return loss

    def _keep(self, step: StepOutput) -> None:
        kept = step.weight > 0
        logits, target = step.output[kept], step.target[kept]
        with torch.no_grad(), torch.autocast(logits.device.type, enabled=False):
            parts = self.losses(logits, target, "val")
        counts = class_counts(logits.argmax(dim=1), target, logits.shape[1])
        self._rows.append(
            CaseRows(
                np.asarray(step.case_id)[kept.cpu().numpy()],
                torch.stack(list(parts.values()), dim=1).float().cpu().numpy(),
                counts.cpu().numpy(),
            )
        )

    def _mean_loss(self, rows: CaseRows) -> float:
        losses: npt.NDArray[np.float64] = rows.output.sum(axis=1, keepdims=True, dtype=np.float64)
        return float(rows.mean_by_case(losses).mean())

    def _remark_on_zeros(self, dice: npt.NDArray[np.float64]) -> None:
        """Say once why a class may stay at 0: it was never seen, seldom seen, or is hard."""
        zero = np.concatenate([[False], dice == 0.0])
        self._waited = np.where(zero, self._waited + 1, 0)
        seen = self.seen.tolist()
        for k in np.flatnonzero(self._waited == PATIENCE).tolist():
            if not seen[k]:
                why = (
                    "no training region has held it so far: the training cases may lack it, or lose it when "
                    "they are prepared; else raise data.foreground or data.regions_per_case"
                )
            else:
                why = (
                    f"{seen[k]} training regions have held it: a small or rare class learns better with "
                    "task.loss.batch_dice=true, task.loss.tversky_beta=0.7 with tversky_alpha=0.3, a larger "
                    "data.foreground, or longer"
                )
            logger.warning(
                "class %s is at Dice 0 since %d validations; %s", self.spec.classes[k], PATIENCE, why
            )


def class_counts(predicted: Tensor, target: Tensor, n_classes: int) -> Tensor:
    """Classes (B, *S) twice -> (B, 3, K) elements in both, in the prediction, and in the target."""
    axes = tuple(range(1, target.ndim))
    rows = []
    for k in range(n_classes):
        found, true = predicted == k, target == k
        rows.append(torch.stack([(found & true).sum(axes), found.sum(axes), true.sum(axes)], dim=1))
    return torch.stack(rows, dim=2)


def _check_grid(logits: Tensor, target: Tensor) -> None:
    if logits.shape[2:] != target.shape[1:]:
        raise DataError(
            "the network's answer lies on another grid than the mask",
            found=tuple(logits.shape[2:]),
            expected=tuple(target.shape[1:]),
            hint="front end and body must keep the input's size",
        )


def balanced_mask_weights(counts: npt.NDArray[np.int64]) -> Tensor:
    """(K,) weights n / (K n_k) of (K,) counts of elements; a class without elements weighs 0."""
    present = counts > 0
    weights = np.where(present, counts.sum() / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights).float()
