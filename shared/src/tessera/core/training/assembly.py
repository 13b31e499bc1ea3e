"""The parts of a training, built from config, pipeline and manifest: loaders and task."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from tessera.core.backbone.last_map import GivesMaps
from tessera.core.backbone.losses.angular_margin import AngularMargin, GivesCosines
from tessera.core.backbone.losses.bias_loss import BiasWeights
from tessera.core.backbone.own_losses import HasTrainingLosses
from tessera.core.data.case import Case
from tessera.core.data.loaders import DrawnRegions, EpochBatches, OpenSource, PlannedRegions, ResumableLoader
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.data.targets import TargetSpec, encode_target
from tessera.core.data.windows import Windows
from tessera.core.errors import ConfigError
from tessera.core.network import GaussianScale, Network, build_network
from tessera.core.pipeline import Pipeline
from tessera.core.run_config import (
    BiasLossConfig,
    DiceCrossEntropyConfig,
    MarginLossConfig,
    MomentLossConfig,
    RunConfig,
)
from tessera.core.tasks.base import Better, Task
from tessera.core.tasks.classification import (
    MultiLabel,
    SingleLabel,
    balanced_class_weights,
    balanced_odds,
    balanced_positive_weights,
)
from tessera.core.tasks.regression import MomentRegression, Regression
from tessera.core.tasks.segmentation import Segmentation, balanced_mask_weights, mask_values
from tessera.core.training.determinism import derive_seed

logger = logging.getLogger(__name__)


TASKS: dict[str, type[Task]] = {
    "class": SingleLabel,
    "tags": MultiLabel,
    "number": Regression,
    "numbers": Regression,
}


def values_of(spec: TargetSpec) -> Mapping[str, Better]:
    """The validation values of a target's task, and which direction is better."""
    return mask_values(spec) if spec.kind == "mask" else TASKS[spec.kind].better


@dataclass(frozen=True)
class TrainingData:
    """What is learnt from.

    Args:
        spec: The target.
        train: Training cases.
        val: Validation cases, perhaps none.
        targets: Case id to encoded target; empty for masks, which come with their regions.
        elements: (K,) elements of each class in the training cases' masks, where they were counted.
    """

    spec: TargetSpec
    train: tuple[Case, ...]
    val: tuple[Case, ...]
    targets: dict[str, np.ndarray]
    elements: np.ndarray | None = None

    @classmethod
    def of(cls, manifest: Manifest, split: Split, target: str) -> TrainingData:
        """Cases and encoded targets of a split."""
        spec = manifest.target(target)
        train, val = split.cases(manifest.cases, "train"), split.cases(manifest.cases, "val")
        if spec.kind == "mask":
            return cls(spec, train, val, {})
        targets = {
            case.id: encode_target(spec, case.targets[target], case_id=case.id) for case in (*train, *val)
        }
        return cls(spec, train, val, targets)

    @property
    def train_targets(self) -> np.ndarray:
        """Encoded targets (N, ...) of the training cases."""
        return np.stack([self.targets[case.id] for case in self.train])


@dataclass(frozen=True)
class Loaders:
    """The training loader and, where there are validation cases, theirs."""

    train: ResumableLoader
    val: ResumableLoader | None

    def close(self) -> None:
        """Stop all worker processes."""
        for loader in (self.train, self.val):
            if loader is not None:
                loader.close()


def build_loaders(
    config: RunConfig,
    data: TrainingData,
    *,
    open_source: OpenSource,
    windows: Windows,
    rank: int = 0,
    world_size: int = 1,
    pin: bool = False,
) -> Loaders:
    """Loaders of this process's share."""
    parts: dict[str, Any] = {"open_source": open_source, "windows": windows, "targets": data.targets}
    share: dict[str, Any] = {
        "batch_size": config.trainer.batch_size,
        "rank": rank,
        "world_size": world_size,
    }
    per_case = config.data.regions_per_case
    drawn = DrawnRegions(
        data.train, seed=config.seed, per_case=per_case, foreground=config.data.foreground, **parts
    )
    odds = None
    if _is_balanced(config, data.spec):
        odds = np.repeat(balanced_odds(data.train_targets), per_case)
    batches = EpochBatches(len(drawn), seed=config.seed, odds=odds, **share)
    train = ResumableLoader(drawn, batches, workers=config.trainer.workers, pin=pin)
    if not data.val:
        return Loaders(train, None)
    planned = PlannedRegions(data.val, **parts)
    in_order = EpochBatches(len(planned), seed=None, **share)
    return Loaders(train, ResumableLoader(planned, in_order, workers=config.trainer.workers, pin=pin))


def _is_balanced(config: RunConfig, spec: TargetSpec) -> bool:
    if config.task.sampling == "balanced" and spec.kind not in ("class", "tags"):
        hint = "; data.foreground is for masks" if spec.kind == "mask" else ""
        logger.warning(
            "task.sampling=balanced has no effect: %s is a %s%s", config.data.target, spec.kind, hint
        )
        return False
    return config.task.sampling == "balanced"


def steps_per_epoch(config: RunConfig, batches: int) -> int:
    """Optimiser steps of an epoch of so many batches; the last one may gather fewer batches."""
    return -(-batches // config.trainer.accumulate)


def total_steps(config: RunConfig, batches: int) -> int:
    """Optimiser steps of the whole training."""
    by_epochs = config.trainer.max_epochs * steps_per_epoch(config, batches)
    return min(by_epochs, config.trainer.max_steps or by_epochs)


def check_loss(config: RunConfig, pipeline: Pipeline, data: TrainingData) -> None:
    """Refuse, before anything is written, a loss that does not fit the target or the network."""
    loss, kind = config.task.loss, data.spec.kind
    if isinstance(loss, DiceCrossEntropyConfig) and kind != "mask":
        raise ConfigError(
            "task.loss=dice_ce is for masks",
            found=f"{config.data.target} is of kind {kind}",
            hint="--set task.loss=likelihood",
        )
    if isinstance(loss, MomentLossConfig) and not data.spec.is_measured:
        raise ConfigError(
            "task.loss=moments is for measured numbers",
            found=f"{config.data.target} is of kind {kind}",
            hint="--set task.loss=likelihood",
        )
    if isinstance(loss, MarginLossConfig):
        _check_margin(config, pipeline, data)
    if not isinstance(loss, BiasLossConfig):
        return
    if kind not in ("class", "tags"):
        raise ConfigError(
            "task.loss=bias weighs the cross-entropy of classes or tags",
            found=f"{config.data.target} is a {kind}",
            hint="--set task.loss=likelihood",
        )
    body = _body(config, pipeline, data)
    if not isinstance(body, GivesMaps):
        raise ConfigError(
            "task.loss=bias needs the network's last feature map",
            found=f"{type(body).__name__}, which keeps its maps to itself",
            expected="an encoder with a head, or a reference network with a last map, such as ghostnet-1.0",
            hint="choose another model, or --set task.loss=likelihood",
        )


def _check_margin(config: RunConfig, pipeline: Pipeline, data: TrainingData) -> None:
    if data.spec.kind != "class":
        raise ConfigError(
            "task.loss=margin is for classes, one a case",
            found=f"{config.data.target} is of kind {data.spec.kind}",
            hint="--set task.loss=likelihood",
        )
    body = _body(config, pipeline, data)
    if not isinstance(body, GivesCosines) or body.cosine_scale is None:
        raise ConfigError(
            "task.loss=margin needs a network that tells classes apart by angles",
            found=type(body).__name__,
            expected="model.kind efficient-tdnn with a cosine_scale",
            hint="--set model.cosine_scale=30, or --set task.loss=likelihood",
        )


def _body(config: RunConfig, pipeline: Pipeline, data: TrainingData) -> nn.Module:
    with torch.random.fork_rng(devices=[]):  # building draws initial weights
        return build_network(pipeline, config, data.spec).body


def build_task(
    config: RunConfig,
    pipeline: Pipeline,
    data: TrainingData,
    *,
    steps: int,
    from_bundle: Path | None = None,
) -> Task:
    """The task with a network whose weights follow from the seed, or come from a bundle."""
    torch.manual_seed(derive_seed(config.seed, "weights"))
    network = build_network(pipeline, config, data.spec)
    if isinstance(network.output, GaussianScale):
        network.output.fit(torch.as_tensor(data.train_targets))
    if from_bundle is not None:
        start_from(network, from_bundle)
    options: dict[str, Any] = {
        "optim": config.optim,
        "total_steps": steps,
        "seed": config.seed,
        "transforms": pipeline.resolve("transforms")(config),
        "map_weights": _map_weights(config),
        "channels_last": config.trainer.channels_last,
        "compile_body": config.trainer.compile,
    }
    smoothing, balanced = config.task.label_smoothing, config.task.class_weights == "balanced"
    if data.spec.kind == "mask":
        if isinstance(network.body, HasTrainingLosses):
            logger.info("%s is trained by its own losses, not by task.loss", type(network.body).__name__)
        loss = config.task.loss
        if not isinstance(loss, DiceCrossEntropyConfig):
            loss = DiceCrossEntropyConfig(dice_weight=0.0)  # the likelihood alone
        elements = data.elements if balanced else None
        weights = None if elements is None else balanced_mask_weights(elements)
        return Segmentation(
            network, spec=data.spec, loss=loss, label_smoothing=smoothing, class_weights=weights, **options
        )
    if data.spec.kind == "class":
        n_classes = len(data.spec.classes)
        weights = balanced_class_weights(data.train_targets, n_classes) if balanced else None
        return SingleLabel(
            network,
            n_classes=n_classes,
            label_smoothing=smoothing,
            class_weights=weights,
            margin=_margin(config, network),
            **options,
        )
    if data.spec.kind == "tags":
        positive = balanced_positive_weights(data.train_targets) if balanced else None
        return MultiLabel(network, label_smoothing=smoothing, positive_weights=positive, **options)
    if smoothing or balanced:
        logger.warning(
            "task.label_smoothing and task.class_weights have no effect: %s is measured", config.data.target
        )
    if isinstance(config.task.loss, MomentLossConfig):
        return MomentRegression(network, eps=config.task.loss.eps, **options)
    return Regression(network, **options)


def _margin(config: RunConfig, network: Network) -> AngularMargin | None:
    loss, body = config.task.loss, network.body
    if not isinstance(loss, MarginLossConfig) or not isinstance(body, GivesCosines):
        return None
    return None if body.cosine_scale is None else AngularMargin(loss.margin, body.cosine_scale)


def _map_weights(config: RunConfig) -> BiasWeights | None:
    loss = config.task.loss
    if not isinstance(loss, BiasLossConfig):
        return None
    return BiasWeights(alpha=loss.alpha, beta=loss.beta, scale=loss.scale)


def start_from(network: Network, bundle: Path) -> Sequence[str]:
    """Take a bundle's weights where name and shape agree; returns the names that stay as they were."""
    from tessera.core.bundle.bundle import Bundle

    weights = Bundle.load(bundle).weights()
    own = network.state_dict()
    fitting = {n: value for n, value in weights.items() if n in own and own[n].shape == value.shape}
    if not fitting:
        from tessera.core.errors import BundleError

        raise BundleError(
            f"{bundle}: no weight fits this network", hint="choose the preset the bundle was made with"
        )
    network.load_state_dict(own | fitting)
    new = sorted(set(own) - set(fitting))
    logger.info("%d of %d tensors from %s; new: %s", len(fitting), len(own), bundle, ", ".join(new) or "none")
    return new
