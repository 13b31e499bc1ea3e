"""The configuration every run shares: data, task, optimiser, trainer, inference (no torch)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, NonNegativeInt, model_validator

from tessera.core.config import Config

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class DataConfig(Config):
    """What every field's data section has; verticals add theirs."""

    target: str = Field("label", description="name of the manifest's target column")
    val_fraction: float = Field(
        0.15, ge=0.0, lt=1.0, description="share of the training groups used for validation"
    )
    cache: bool = Field(True, description="keep prepared cases on disk, keyed by content and config")
    regions_per_case: int = Field(1, ge=1, description="training regions drawn from a case in an epoch")
    foreground: Fraction = Field(
        1 / 3, description="masks only: share of training regions drawn to hold some of the foreground"
    )


class LikelihoodConfig(Config):
    """What is unlikely costs: cross-entropy of classes, tags and masks, Gaussian likelihood of numbers."""

    kind: Literal["likelihood"] = "likelihood"


class BiasLossConfig(Config):
    """Cross-entropy, where cases whose last feature map varies little count less; see `bias_loss`."""

    kind: Literal["bias"] = "bias"
    alpha: float = Field(0.3, ge=0.0, le=10.0, description="growth of a case's weight with the variance")
    beta: float = Field(0.3, ge=0.0, lt=1.0, description="taken from every weight")
    scale: Literal["local", "global"] = Field(
        "local", description="variances against the batch's own, or from the least of all batches so far"
    )


class MarginLossConfig(Config):
    """Cross-entropy of classes by angles, where the right one is made larger; see `AngularMargin`."""

    kind: Literal["margin"] = "margin"
    margin: float = Field(0.2, ge=0.0, lt=1.5, description="added to the angle of the right class, rad")


class DiceCrossEntropyConfig(Config):
    """Masks: cross-entropy and soft Dice, as nnU-Net trains; other alpha and beta: a Tversky loss."""

    kind: Literal["dice_ce"] = "dice_ce"
    ce_weight: float = Field(1.0, ge=0.0, description="factor of the cross-entropy")
    dice_weight: float = Field(1.0, ge=0.0, description="factor of the overlap")
    batch_dice: bool = Field(
        False, description="overlap of all rows of a batch together; for small structures"
    )
    tversky_alpha: float = Field(0.5, ge=0.0, le=1.0, description="what is found and not there; Dice: 0.5")
    tversky_beta: float = Field(0.5, ge=0.0, le=1.0, description="what is there and not found; Dice: 0.5")

    @model_validator(mode="after")
    def _something_is_minimised(self) -> Self:
        if not self.ce_weight + self.dice_weight:
            raise ValueError("ce_weight and dice_weight are both 0")
        if not self.tversky_alpha + self.tversky_beta:
            raise ValueError("tversky_alpha and tversky_beta are both 0: every answer would be perfect")
        return self


def _kind_of_name(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


class MomentLossConfig(Config):
    """Numbers: mean and standard deviation of the posterior, as moment networks learn them.

    Its value is that of a batch as a whole, so compare runs with the same batch size.
    """

    kind: Literal["moments"] = "moments"
    eps: float = Field(1e-8, gt=0.0, description="keeps a batch that is fitted exactly from minus infinity")


LossConfig = Annotated[
    LikelihoodConfig | BiasLossConfig | MarginLossConfig | MomentLossConfig | DiceCrossEntropyConfig,
    Field(discriminator="kind"),
    BeforeValidator(_kind_of_name),
]


class TaskConfig(Config):
    """Loss and sampling."""

    loss: LossConfig = Field(LikelihoodConfig(), description="a kind, or a kind with its options")
    label_smoothing: float = Field(0.0, ge=0.0, lt=1.0)
    class_weights: Literal["none", "balanced"] = "none"
    sampling: Literal["uniform", "balanced"] = "uniform"


class MaskTaskConfig(TaskConfig):
    """Loss and sampling of fields whose targets are masks."""

    loss: LossConfig = Field(DiceCrossEntropyConfig(), description="a kind, or a kind with its options")


class OptimConfig(Config):
    """Optimiser and learning-rate schedule."""

    kind: Literal["adamw", "sgd"] = "adamw"
    lr: float = Field(1e-3, gt=0.0, description="peak learning rate")
    weight_decay: float = Field(1e-2, ge=0.0, description="not applied to biases and norms")
    momentum: Fraction = Field(0.9, description="sgd only")
    nesterov: bool = Field(True, description="sgd only: look ahead along the momentum")
    schedule: Literal["constant", "cosine", "polynomial", "step"] = "cosine"
    warmup_fraction: float = Field(0.05, ge=0.0, lt=1.0, description="share of all steps")
    final_lr_fraction: Fraction = Field(0.0, description="cosine: learning rate at the end over its peak")
    power: float = Field(0.9, gt=0.0, description="polynomial only")
    step_fractions: tuple[Fraction, ...] = Field((0.6, 0.85), description="step: where the rate drops")
    step_factor: float = Field(0.1, gt=0.0, lt=1.0, description="step: factor of each drop")


class AugmentConfig(Config):
    """Random changes every field can make to a training batch; verticals add theirs."""

    mixup_alpha: float = Field(0.0, ge=0.0, le=10.0, description="Beta(a, a) of mixup of features; 0 is off")
    mask_count: tuple[NonNegativeInt, ...] = Field((), description="masks per feature axis, e.g. [2, 2]")
    mask_width: tuple[Fraction, ...] = Field((), description="widest mask per axis, share of the axis")


class TrainerConfig(Config):
    """Length, speed and safety of training."""

    max_epochs: int = Field(50, ge=1, le=100_000)
    max_steps: int | None = Field(None, ge=1, description="ends training earlier; written by --budget")
    batch_size: int = Field(32, ge=1)
    accumulate: int = Field(1, ge=1, description="batches per optimiser step")
    workers: int = Field(0, ge=0, description="loader processes; the result does not depend on it")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="auto: bfloat16 on a GPU, float32 on a CPU"
    )
    gradient_clip: float = Field(1.0, ge=0.0, description="largest gradient norm; 0 is off")
    ema_decay: float = Field(0.0, ge=0.0, lt=1.0, description="moving average of the weights; 0 is off")
    patience: int | None = Field(None, ge=1, description="epochs without gain before stopping; null is off")
    monitor: str = Field("val_loss", description="validation value that picks the best checkpoint")
    keep: Literal["best", "last"] = Field("best", description="which weights go into the bundle")
    checkpoint_every_s: float = Field(60.0, gt=0.0, description="seconds between checkpoints in an epoch")
    checkpoint_every_steps: int | None = Field(None, ge=1, description="instead of seconds")
    compile: bool = Field(False, description="torch.compile; pays on a GPU")
    channels_last: bool = Field(True, description="memory format of 2-D networks; faster")
    devices: int | Literal["auto"] = 1
    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    strategy: Literal["auto", "ddp"] = "auto"


class InferenceConfig(Config):
    """How a trained network is applied."""

    batch_size: int = Field(16, ge=1, description="rows the network always sees; the last batch is padded")
    tta: tuple[str, ...] = Field(
        (), description="names of the field's test-time changes, for instance [shift]"
    )
    fusion: Literal["mean", "geometric", "max"] = Field(
        "mean", description="windows and members to one answer"
    )
    timeout_s: float = Field(600.0, gt=0.0, description="longest time for one case's reading")


class RunConfig(Config):
    """Everything a run needs; verticals fill in their data, network and augmentation."""

    pipeline: str
    preset: str
    seed: int = Field(0, ge=0, lt=2**31)
    data: DataConfig = DataConfig()
    task: TaskConfig = TaskConfig()
    optim: OptimConfig = OptimConfig()
    augment: AugmentConfig = AugmentConfig()
    trainer: TrainerConfig = TrainerConfig()
    inference: InferenceConfig = InferenceConfig()
