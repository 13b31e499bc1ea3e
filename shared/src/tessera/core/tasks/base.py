"""What every task shares: one step for training, validation and test, and three hooks."""

from __future__ import annotations

import logging
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from tessera.core.data.sample import Batch
from tessera.core.errors import TesseraError
from tessera.core.network import Network
from tessera.core.run_config import OptimConfig
from tessera.core.tasks.gather import CaseRows, gather_rows
from tessera.core.tasks.step import Stage, StepOutput
from tessera.core.training.determinism import derive_seed
from tessera.core.training.optim import build_optimizer, build_schedule
from tessera.core.transforms.interface import BatchTransforms

logger = logging.getLogger(__name__)

Better = Literal["min", "max"]
FloatArray = npt.NDArray[np.float64]


class Task(LightningModule):
    """Three hooks around one step: ``models`` (batch to raw output), ``losses``, ``metrics``.

    Args:
        network: Front end and body.
        optim: Optimiser and schedule.
        total_steps: Length of training, for the schedule.
        seed: Seeds the transforms, with the number of the batch and the rank.
        transforms: Random changes of training batches.
        map_weights: Last map (B, C, *S) and which rows count (B,) -> factor of each row's training loss; for
            bodies that give maps.
        channels_last: Keep 2-D networks channels last in memory.
        compile_body: Compile the body with torch.compile.
    """

    better: ClassVar[Mapping[str, Better]] = {"val_loss": "min"}
    """Every validation value of this task, and which direction is better."""

    def __init__(
        self,
        network: Network,
        *,
        optim: OptimConfig,
        total_steps: int,
        seed: int = 0,
        transforms: BatchTransforms | None = None,
        map_weights: nn.Module | None = None,
        channels_last: bool = False,
        compile_body: bool = False,
    ) -> None:
        super().__init__()
        self.network = network
        self.optim = optim
        self.total_steps = total_steps
        self.seed = seed
        self.transforms = transforms
        self.map_weights = map_weights
        self.channels_last = channels_last
        self.compile_body = compile_body
        self.batch_counter = 0
        self.last: StepOutput | None = None
        self.values: dict[str, float] = {}
        self._rows: list[CaseRows] = []

    # the three hooks

    def models(self, batch: Batch, stage: Stage) -> tuple[Any, Tensor, Tensor | None]:
        """What ``answer`` gives, the target and, where there are any, factors (B,) of the rows' losses.

        Random changes and factors belong to training only.
        """
        input, target = batch["input"], self.encode(batch["target"], stage)
        generator = self._generator()
        changes = self.transforms if stage == "train" else None
        with torch.autocast(input.device.type, enabled=False):
            if changes is not None:
                input, target = changes.on_input(input, target, generator)
            features = self.network.front_end(input.float())
            if changes is not None:
                features, target = changes.on_features(features, target, generator)
        if stage != "train" or self.map_weights is None:
            return self.answer(features, stage), target, None
        last, output = self.network.map_and_answer(features)
        return output, target, self.map_weights(last, batch["weight"].to(output.device) > 0)

    @abstractmethod
    def losses(self, output: Any, target: Tensor, stage: Stage) -> dict[str, Tensor]:
        """Named losses of the rows, each (B,); their sum is minimised."""

    @abstractmethod
    def metrics(self, rows: CaseRows) -> dict[str, float]:
        """Values of ``better`` except the loss, from the raw outputs of all windows of all cases."""

    def weighed_losses(self, output: Any, target: Tensor, stage: Stage, weight: Tensor) -> dict[str, Tensor]:
        """Named losses (B,) of rows that count by ``weight`` (B,); for losses of a batch as one."""
        return self.losses(output, target, stage)

    def answer(self, features: Tensor, stage: Stage) -> Any:
        """Features -> raw output (B, K); what ``losses`` gets."""
        return self.network.answer(features)

    def encode(self, target: Tensor, stage: Stage) -> Tensor:
        """The target as ``losses`` wants it; (B, K) soft where classes are learnt."""
        return target

    # the step

    def step(self, batch: Batch, stage: Stage) -> StepOutput:
        """One batch; the loss is the mean over rows, weighted by ``batch["weight"]``."""
        output, target, factor = self.models(batch, stage)
        weight = batch["weight"].to(self.device)
        parts = self.weighed_losses(output, target, stage, weight)
        if factor is not None:
            parts = {name: part * factor for name, part in parts.items()}
        total = weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
        means = {name: (part * weight).sum() / total for name, part in parts.items()}
        return StepOutput(
            loss=cast(Tensor, sum(means.values())),
            losses={name: mean.detach() for name, mean in means.items()},
            output=output,
            target=target,
            case_id=batch["case_id"],
            region=batch["region"],
            weight=weight,
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The loss of a batch."""
        step = self.step(batch, "train")
        self.last = step
        return step.loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the raw outputs of a batch."""
        self._keep(self.step(batch, "val"))

    def test_step(self, batch: Batch, batch_idx: int) -> None:
        """Keep the raw outputs of a batch."""
        self._keep(self.step(batch, "test"))

    def _keep(self, step: StepOutput) -> None:
        kept = (step.weight > 0).cpu().numpy()
        names = np.asarray(step.case_id)[kept]
        output, target = step.output[step.weight > 0], step.target[step.weight > 0]
        self._rows.append(CaseRows(names, output.cpu().numpy(), target.cpu().numpy()))

    def on_validation_epoch_start(self) -> None:
        """Forget the rows of the validation before."""
        self._rows = []

    def on_validation_epoch_end(self) -> None:
        """Compute ``values`` over the cases of all ranks."""
        rows = gather_rows(self._rows)
        self._rows = []
        strange = ~np.isfinite(rows.output).all(axis=1)
        if strange.any():
            raise TesseraError(
                f"the network's output is not finite for {int(strange.sum())} of {len(rows.case_id)} windows",
                found=f"cases {', '.join(np.unique(rows.case_id[strange])[:5])}",
                expected="finite numbers",
                hint="a lower optim.lr or trainer.gradient_clip=1; or the cases hold extreme values",
            )
        self.values = {"val_loss": self._mean_loss(rows), **self.metrics(rows)}

    def _mean_loss(self, rows: CaseRows) -> float:
        output, target = torch.from_numpy(rows.output), torch.from_numpy(rows.target)
        parts = self._losses_on_cpu(output, target)
        return float(rows.mean_by_case(parts.double().numpy()[:, None]).mean())

    def _losses_on_cpu(self, output: Tensor, target: Tensor) -> Tensor:
        return cast(Tensor, sum(self.losses(output, target, "val").values()))

    # what Lightning asks for

    def setup(self, stage: str) -> None:
        """Apply the speed options before the weights move to their device."""
        if self.channels_last:
            self.network.use_channels_last()
        if self.compile_body:
            self.network.compile_body()

    def configure_optimizers(self) -> Any:
        """Optimiser and a learning rate that changes every step."""
        optimizer = build_optimizer(self.network, self.optim)
        schedule = build_schedule(optimizer, self.optim, self.total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def transfer_batch_to_device(self, batch: Batch, device: torch.device, dataloader_idx: int) -> Batch:
        """Move the tensors; geometry, regions and ids stay."""
        moved = {
            key: value.to(device, non_blocking=True) if isinstance(value, Tensor) else value
            for key, value in batch.items()
        }
        return cast(Batch, moved)

    def _generator(self) -> torch.Generator:
        seed = derive_seed(self.seed, "transforms", step=self.batch_counter, rank=self.global_rank)
        return torch.Generator().manual_seed(seed)
