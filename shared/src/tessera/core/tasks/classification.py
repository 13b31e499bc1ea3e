"""One class a case, or any number of tags."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.core.backbone.losses.angular_margin import AngularMargin
from tessera.core.network import Network
from tessera.core.tasks.base import Better, Task
from tessera.core.tasks.gather import CaseRows
from tessera.core.tasks.step import Stage


class SingleLabel(Task):
    """Cross-entropy; targets are class numbers (B,), softened to (B, K) in training.

    Weights, smoothing and margin act in training only: ``val_loss`` is the plain negative log-likelihood.

    Args:
        network: Gives logits (B, K).
        label_smoothing: Share of the target spread over all classes.
        class_weights: (K,) factor of each class's loss.
        margin: Added to the angle of the right class, where logits are scaled cosines.
        options: Those of ``Task``.
    """

    better: ClassVar[Mapping[str, Better]] = {"val_loss": "min", "val_accuracy": "max", "val_macro_f1": "max"}

    def __init__(
        self,
        network: Network,
        *,
        n_classes: int,
        label_smoothing: float = 0.0,
        class_weights: Tensor | None = None,
        margin: AngularMargin | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.n_classes = n_classes
        self.label_smoothing = label_smoothing
        self.margin = margin
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)

    def encode(self, target: Tensor, stage: Stage) -> Tensor:
        """(B,) classes to (B, K) probabilities in training."""
        return F.one_hot(target, self.n_classes).float() if stage == "train" else target

    def losses(self, output: Tensor, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        """Cross-entropy (B,) in nats."""
        if stage != "train":
            return {"cross_entropy": F.cross_entropy(output, target, reduction="none")}
        loss = F.cross_entropy(
            output if self.margin is None else self.margin(output, target),
            target,
            weight=self.class_weights,
            label_smoothing=self.label_smoothing,
            reduction="none",
        )
        return {"cross_entropy": loss}

    def metrics(self, rows: CaseRows) -> dict[str, float]:
        """Accuracy and macro F1 of cases whose windows' probabilities are averaged."""
        from sklearn.metrics import f1_score

        probabilities = torch.from_numpy(rows.output).softmax(dim=1).double().numpy()
        decided = rows.mean_by_case(probabilities).argmax(axis=1)
        f1 = f1_score(rows.case_target, decided, average="macro", zero_division=0.0)
        return {"val_accuracy": float((decided == rows.case_target).mean()), "val_macro_f1": float(f1)}


class MultiLabel(Task):
    """Binary cross-entropy, the mean over the tags; targets are (B, K) in 0 to 1.

    Args:
        network: Gives logits (B, K).
        label_smoothing: Targets move by half of this towards one half.
        positive_weights: (K,) factor of each tag's positive part.
        options: Those of ``Task``.
    """

    better: ClassVar[Mapping[str, Better]] = {"val_loss": "min", "val_auroc": "max", "val_macro_f1": "max"}

    def __init__(
        self,
        network: Network,
        *,
        label_smoothing: float = 0.0,
        positive_weights: Tensor | None = None,
        **options: Any,
    ) -> None:
        super().__init__(network, **options)
        self.label_smoothing = label_smoothing
        self.positive_weights: Tensor | None
        self.register_buffer("positive_weights", positive_weights, persistent=False)

    def losses(self, output: Tensor, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        """Binary cross-entropy (B,) in nats."""
        if stage != "train":
            plain = F.binary_cross_entropy_with_logits(output, target, reduction="none")
            return {"binary_cross_entropy": plain.mean(dim=1)}
        soft = target * (1 - self.label_smoothing) + self.label_smoothing / 2
        loss = F.binary_cross_entropy_with_logits(
            output, soft, pos_weight=self.positive_weights, reduction="none"
        )
        return {"binary_cross_entropy": loss.mean(dim=1)}

    def metrics(self, rows: CaseRows) -> dict[str, float]:
        """Macro AUROC over tags that occur and are absent somewhere (else NaN), and macro F1 at one half."""
        from sklearn.metrics import f1_score, roc_auc_score

        probabilities = rows.mean_by_case(torch.from_numpy(rows.output).sigmoid().double().numpy())
        truth = rows.case_target > 0.5
        known = truth.any(axis=0) & ~truth.all(axis=0)
        areas = [roc_auc_score(truth[:, k], probabilities[:, k]) for k in np.flatnonzero(known)]
        f1 = f1_score(truth, probabilities >= 0.5, average="macro", zero_division=0.0)
        return {"val_auroc": float(np.mean(areas)) if areas else float("nan"), "val_macro_f1": float(f1)}


def balanced_class_weights(classes: npt.NDArray[np.int64], n_classes: int) -> Tensor:
    """(K,) weights n / (K n_k): their mean over the cases is 1; a class without cases weighs 0."""
    counts = np.bincount(classes, minlength=n_classes)
    present = counts > 0
    weights = np.where(present, len(classes) / (present.sum() * np.maximum(counts, 1)), 0.0)
    return torch.from_numpy(weights).float()


def balanced_positive_weights(tags: npt.NDArray[np.float32]) -> Tensor:
    """(K,) ratio of cases without to cases with each tag (N, K); 1 where a tag never or always occurs."""
    positive = tags.sum(axis=0)
    negative = len(tags) - positive
    ratio = np.where((positive > 0) & (negative > 0), negative / np.maximum(positive, 1), 1.0)
    return torch.from_numpy(ratio).float()


def balanced_odds(targets: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """(N,) odds under which classes (N,) are drawn equally often; tags (N, K): by a case's rarest tag."""
    if targets.ndim == 1:
        return 1.0 / np.bincount(targets)[targets]
    frequency = np.maximum(targets.sum(axis=0), 1)
    rarest = np.where(targets > 0, 1.0 / frequency, 0.0).max(axis=1)
    return np.where(rarest > 0, rarest, 1.0 / len(targets))
