from __future__ import annotations

import logging
import math
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from monai.losses.dice import DiceLoss
from monai.losses.tversky import TverskyLoss
from torch import Tensor, nn

from tessera.core.backbone.losses.dice import deep_supervision_weights, overlap_loss, reduced_classes
from tessera.core.data.geometry import Region
from tessera.core.data.sample import Batch
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.core.network import Network
from tessera.core.run_config import DiceCrossEntropyConfig, OptimConfig
from tessera.core.tasks.gather import CaseRows
from tessera.core.tasks.segmentation import Segmentation, balanced_mask_weights, class_counts, mask_values

SPEC = TargetSpec(kind="mask", classes=("background", "left lung", "lung"))
SHAPES = [(9,), (6, 5), (4, 5, 3)]


class Heads(nn.Module):
    """Gives what it was given, in training with a second head of half the size."""

    def __init__(self, coarse: Tensor | None = None) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1, 1))
        self.coarse = coarse

    def forward(self, x: Tensor) -> Tensor | list[Tensor]:
        logits = self.scale * x
        return [logits, self.scale * self.coarse] if self.training and self.coarse is not None else logits


def make(body: nn.Module, **options: Any) -> Segmentation:
    settings: dict[str, Any] = {
        "spec": SPEC,
        "loss": DiceCrossEntropyConfig(),
        "optim": OptimConfig(),
        "total_steps": 1,
    }
    return Segmentation(Network(nn.Identity(), body), **(settings | options))


def batch(logits: Tensor, target: Tensor, weight: list[float] | None = None) -> Batch:
    n = len(logits)
    return {
        "input": logits,
        "target": target,
        "case_id": [f"c{i // 2}" for i in range(n)],
        "region": [Region((0,), (1,))] * n,
        "weight": torch.tensor(weight or [1.0] * n),
    }


def example(*shape: int, n: int = 3, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((n, 3, *shape), generator=generator)
    return logits, torch.randint(0, 3, (n, *shape), generator=generator)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("over_batch", [False, True])
def test_soft_dice_is_that_of_monai(shape: tuple[int, ...], over_batch: bool) -> None:
    logits, target = example(*shape)
    reference = DiceLoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        smooth_nr=1e-5,
        smooth_dr=1e-5,
        batch=over_batch,
    )
    ours = overlap_loss(logits, target, over_batch=over_batch)
    assert ours.shape == (3,)
    assert float(ours.mean()) == pytest.approx(float(reference(logits, target[:, None])) - 1, abs=1e-6)


@pytest.mark.parametrize("shape", SHAPES)
def test_other_weights_make_it_the_tversky_loss_of_monai(shape: tuple[int, ...]) -> None:
    logits, target = example(*shape)
    reference = TverskyLoss(
        include_background=False,
        to_onehot_y=True,
        softmax=True,
        alpha=0.3,
        beta=0.7,
        smooth_nr=0,
        smooth_dr=0,
    )
    ours = overlap_loss(logits, target, alpha=0.3, beta=0.7, smooth=0.0)
    assert float(ours.mean()) == pytest.approx(float(reference(logits, target[:, None])) - 1, abs=1e-6)


def test_a_perfect_answer_costs_minus_one_and_a_wrong_one_nothing() -> None:
    _, target = example(6, 5)
    right = 50.0 * F.one_hot(target, 3).movedim(-1, 1).float()
    torch.testing.assert_close(overlap_loss(right, target), torch.full((3,), -1.0))
    wrong = 50.0 * F.one_hot((target + 1) % 3, 3).movedim(-1, 1).float()
    assert float(overlap_loss(wrong, target).abs().max()) < 1e-4


def test_a_class_that_neither_has_counts_as_found() -> None:
    target = torch.zeros((1, 40), dtype=torch.long)
    logits = torch.zeros((1, 3, 40))
    logits[:, 0] = 60.0
    assert float(overlap_loss(logits, target)) == pytest.approx(-1.0, abs=1e-6)


@pytest.mark.parametrize(  # nnU-Net's sheet: 6 stages have 5 heads, 7 have 6
    ("n", "expected"),
    [
        (1, [1.0]),
        (2, [1.0, 0.0]),
        (5, [0.5333, 0.2667, 0.1333, 0.0667, 0.0]),
        (6, [0.5161, 0.2581, 0.1290, 0.0645, 0.0323, 0.0]),
    ],
)
def test_heads_weigh_half_of_the_one_before_and_the_last_nothing(n: int, expected: list[float]) -> None:
    assert deep_supervision_weights(n) == pytest.approx(expected, abs=5e-5)
    assert sum(deep_supervision_weights(n)) == pytest.approx(1.0)


def test_a_smaller_head_sees_the_classes_at_its_centres() -> None:
    classes = torch.tensor([[0, 1, 2, 1, 0, 2]])
    assert reduced_classes(classes, (2,)).tolist() == [[1, 0]]
    assert reduced_classes(classes, (6,)) is classes
    assert reduced_classes(torch.zeros((1, 5, 7), dtype=torch.long), (3, 4)).shape == (1, 3, 4)


def test_the_loss_of_a_step_is_that_of_its_formula() -> None:
    logits, target = example(6, 4)
    coarse = torch.randn((3, 3, 3, 2), generator=torch.Generator().manual_seed(5))
    step = make(Heads(coarse)).train().step(batch(logits, target, [1.0, 1.0, 0.0]), "train")
    entropy = F.cross_entropy(logits[:2], target[:2])
    dice = overlap_loss(logits[:2], target[:2]).mean()
    assert float(step.loss.detach()) == pytest.approx(
        float(entropy + dice), abs=1e-5
    )  # the second head weighs 0
    assert set(step.losses) == {"cross_entropy", "dice"}
    step.loss.backward()  # type: ignore[no-untyped-call]


def test_three_heads_share_the_loss_by_their_weights() -> None:
    logits, target = example(8)
    heads = [logits, logits[..., ::2], logits[..., ::4]]
    parts = make(Heads()).losses(heads, target, "train")
    entropy = sum(
        w * F.cross_entropy(head, reduced_classes(target, head.shape[2:]), reduction="none").mean(1)
        for w, head in zip((2 / 3, 1 / 3, 0.0), heads, strict=True)
    )
    torch.testing.assert_close(parts["cross_entropy"], entropy)


def test_class_weights_are_those_of_torch_row_by_row() -> None:
    logits, target = example(5, 5)
    weights = torch.tensor([0.2, 1.0, 3.0])
    task = make(Heads(), class_weights=weights, loss=DiceCrossEntropyConfig(dice_weight=0.0))
    expected = [F.cross_entropy(logits[i : i + 1], target[i : i + 1], weight=weights) for i in range(3)]
    torch.testing.assert_close(task.losses(logits, target, "train")["cross_entropy"], torch.stack(expected))
    plain = F.cross_entropy(logits, target, reduction="none").mean(dim=(1, 2))
    torch.testing.assert_close(task.losses(logits, target, "val")["cross_entropy"], plain)


def test_balanced_weights_give_every_class_the_same_share() -> None:
    counts = np.array([90, 10, 0])
    weights = balanced_mask_weights(counts).numpy()
    np.testing.assert_allclose(weights * counts, [50, 50, 0])


@pytest.mark.parametrize("shape", SHAPES)
def test_counts_give_the_dice_of_a_direct_comparison(shape: tuple[int, ...]) -> None:
    logits, target = example(*shape, n=4)
    task = make(Heads()).eval()
    for rows in (slice(0, 3), slice(3, 4)):
        task.validation_step(batch(logits[rows], target[rows]), 0)
    task.on_validation_epoch_end()
    predicted = logits.argmax(1)
    for k, name in ((1, "val_dice_left_lung"), (2, "val_dice_lung")):
        found, true = predicted == k, target == k
        expected = 2 * (found & true).sum() / (found.sum() + true.sum())
        assert task.values[name] == pytest.approx(float(expected))
    assert task.values["val_dice"] == pytest.approx(
        (task.values["val_dice_left_lung"] + task.values["val_dice_lung"]) / 2
    )
    assert list(task.values) == list(mask_values(SPEC)) == list(task.better)


def test_the_validation_loss_is_the_mean_over_cases_not_windows() -> None:
    logits, target = example(7)  # two windows of one case, one of another
    task = make(Heads()).eval()
    task.validation_step(batch(logits, target), 0)
    task.on_validation_epoch_end()
    rows = F.cross_entropy(logits, target, reduction="none").mean(1) + overlap_loss(logits, target)
    assert task.values["val_loss"] == pytest.approx(float((rows[:2].mean() + rows[2]) / 2), abs=1e-6)


def test_rows_that_only_fill_a_batch_are_not_counted() -> None:
    logits, target = example(7)
    filled, plain = make(Heads()).eval(), make(Heads()).eval()
    filled.validation_step(batch(logits, target, [1.0, 1.0, 0.0]), 0)
    plain.validation_step(batch(logits[:2], target[:2]), 0)
    for task in (filled, plain):
        task.on_validation_epoch_end()
    assert filled.values == plain.values


def test_a_class_that_is_nowhere_has_no_dice() -> None:
    counts = class_counts(torch.tensor([[0, 1]]), torch.tensor([[0, 1]]), 3).numpy()
    values = make(Heads()).metrics(CaseRows(np.array(["a"]), np.zeros((1, 2), np.float32), counts))
    assert values["val_dice_left_lung"] == 1.0
    assert math.isnan(values["val_dice_lung"])
    assert values["val_dice"] == 1.0


@pytest.mark.parametrize(("seen", "why"), [(0, "no training region has held it"), (3, "3 training regions")])
def test_a_class_that_stays_at_zero_is_remarked_on_once(
    caplog: pytest.LogCaptureFixture, seen: int, why: str
) -> None:
    counts = class_counts(torch.tensor([[0, 0, 2]]), torch.tensor([[0, 1, 2]]), 3).numpy()
    rows = CaseRows(np.array(["a"]), np.zeros((1, 2), np.float32), counts)
    task = make(Heads())
    task.seen[1] = seen
    with caplog.at_level(logging.WARNING):
        for _ in range(12):
            task.metrics(rows)
    (remark,) = caplog.messages
    assert "class left lung is at Dice 0" in remark
    assert why in remark


def test_training_counts_the_regions_that_held_each_class() -> None:
    task = make(Heads()).train()
    target = torch.tensor([[0, 0, 1], [0, 0, 0]])
    task.training_step(batch(torch.randn(2, 3, 3), target), 0)
    assert task.seen.tolist() == [2, 1, 0]


def test_an_answer_on_another_grid_is_refused() -> None:
    logits, _ = example(7)
    with pytest.raises(DataError, match="another grid"):
        make(Heads()).step(batch(logits, torch.zeros((3, 6), dtype=torch.long)), "train")


class OwnLosses(Heads):
    """Is trained by the sum of its logits."""

    def training_losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        assert isinstance(output, Tensor)
        return {"own": output.flatten(1).sum(1) + 0 * target.flatten(1).sum(1)}


def test_a_network_with_losses_of_its_own_is_trained_by_them_and_validated_as_all() -> None:
    logits, target = example(6)
    task = make(OwnLosses())
    step = task.train().step(batch(logits, target), "train")
    assert set(step.losses) == {"own"}
    assert float(step.loss.detach()) == pytest.approx(float(logits.flatten(1).sum(1).mean()), abs=1e-5)
    assert set(task.eval().step(batch(logits, target), "val").losses) == {"cross_entropy", "dice"}
