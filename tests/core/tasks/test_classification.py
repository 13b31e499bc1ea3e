from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import Tensor, nn

from tessera.core.data.sample import Batch
from tessera.core.errors import TesseraError
from tessera.core.network import Network
from tessera.core.run_config import OptimConfig
from tessera.core.tasks.classification import (
    MultiLabel,
    SingleLabel,
    balanced_class_weights,
    balanced_positive_weights,
)
from tessera.core.tasks.gather import CaseRows

NETWORK = Network(nn.Identity(), nn.Identity())  # what goes in is what the network says
OPTIONS: dict[str, Any] = {"optim": OptimConfig(), "total_steps": 10}


def single(n_classes: int = 3, **options: Any) -> SingleLabel:
    return SingleLabel(NETWORK, n_classes=n_classes, **OPTIONS, **options)


def batch(input: Tensor, target: Tensor, weight: list[float] | None = None) -> Batch:
    n = len(input)
    return {
        "input": input,
        "target": target,
        "case_id": [f"c{i}" for i in range(n)],
        "region": [],
        "weight": torch.tensor(weight or [1.0] * n),
    }


def test_equal_logits_cost_the_log_of_the_number_of_classes() -> None:
    data = batch(torch.zeros(4, 5), torch.tensor([0, 1, 2, 4]))
    for stage in ("train", "val", "test"):
        assert single(5).step(data, stage).loss.item() == pytest.approx(math.log(5))


def test_label_smoothing_moves_a_share_of_the_target_to_all_classes() -> None:
    logits, target = torch.tensor([[2.0, 0.0, -1.0]]), torch.tensor([0])
    log_p = logits.log_softmax(1)[0].tolist()
    expected = -(0.7 * log_p[0] + 0.3 * sum(log_p) / 3)
    task = single(label_smoothing=0.3)
    assert task.step(batch(logits, target), "train").loss.item() == pytest.approx(expected)
    assert task.step(batch(logits, target), "val").loss.item() == pytest.approx(-log_p[0])


def test_class_weights_multiply_the_loss_of_their_class_in_training_only() -> None:
    logits = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
    target = torch.tensor([0, 1, 2, 2])
    weights = torch.tensor([0.5, 1.0, 3.0])
    plain = nn.functional.cross_entropy(logits, target, reduction="none")
    task = single(class_weights=weights)
    assert task.step(batch(logits, target), "train").loss.item() == pytest.approx(
        float((plain * weights[target]).mean())
    )
    assert task.step(batch(logits, target), "val").loss.item() == pytest.approx(float(plain.mean()))
    assert "class_weights" not in task.state_dict()


def test_a_soft_target_costs_the_mixture_of_its_hard_ones() -> None:
    logits = torch.tensor([[1.0, -2.0, 0.5]])
    task = single()
    hard = [float(task.losses(logits, torch.eye(3)[[k]], "train")["cross_entropy"]) for k in range(3)]
    soft = torch.tensor([[0.6, 0.4, 0.0]])
    assert float(task.losses(logits, soft, "train")["cross_entropy"]) == pytest.approx(
        0.6 * hard[0] + 0.4 * hard[1]
    )


def test_rows_of_weight_zero_count_neither_in_the_loss_nor_in_the_metrics() -> None:
    logits = torch.tensor([[5.0, 0.0, 0.0], [float("nan")] * 3])
    data = batch(logits.nan_to_num(99.0), torch.tensor([0, 1]), [1.0, 0.0])
    task = single()
    alone = task.step(batch(logits[:1], torch.tensor([0])), "train").loss.item()
    assert task.step(data, "train").loss.item() == pytest.approx(alone)
    task.on_validation_epoch_start()
    task.validation_step(data, 0)
    task.on_validation_epoch_end()
    assert task.values["val_accuracy"] == 1.0
    assert task.values["val_loss"] == pytest.approx(alone)


def test_an_output_that_is_no_number_names_the_case() -> None:
    task = single()
    task.validation_step(batch(torch.tensor([[0.0] * 3, [float("nan")] * 3]), torch.tensor([0, 1])), 0)
    with pytest.raises(TesseraError, match="cases c1"):
        task.on_validation_epoch_end()


def test_windows_of_a_case_are_averaged_before_the_case_is_judged() -> None:
    # case a: one sure window outvotes two unsure ones; case b is right, case c wrong
    p = np.array([[0.98, 0.02], [0.4, 0.6], [0.4, 0.6], [0.2, 0.8], [0.9, 0.1]], dtype=np.float32)
    rows = CaseRows(np.array(["a", "a", "a", "b", "c"]), np.log(p), np.array([0, 0, 0, 1, 1]))
    values = single(2).metrics(rows)
    assert values["val_accuracy"] == pytest.approx(2 / 3)
    # predicted 0 1 0 for 0 1 1: F1 is 2/3 for both classes
    assert values["val_macro_f1"] == pytest.approx(2 / 3)


def test_the_validation_loss_is_a_mean_over_cases_not_windows() -> None:
    task = single(2)
    logits = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [3.0, 0.0]])
    data = batch(logits, torch.tensor([0, 0, 0, 0]))
    data["case_id"] = ["a", "a", "a", "b"]
    task.validation_step(data, 0)
    task.on_validation_epoch_end()
    assert task.values["val_loss"] == pytest.approx((math.log(2) + math.log1p(math.exp(-3))) / 2)


def test_binary_cross_entropy_is_that_of_scikit_learn() -> None:
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 3, generator=generator)
    target = (torch.rand(6, 3, generator=generator) > 0.5).float()
    expected = np.mean([sklearn.metrics.log_loss(target[:, k], logits[:, k].sigmoid()) for k in range(3)])
    task = MultiLabel(NETWORK, **OPTIONS)
    assert task.step(batch(logits, target), "train").loss.item() == pytest.approx(expected, rel=1e-5)


def test_tags_are_smoothed_and_weighted_in_training_only() -> None:
    task = MultiLabel(NETWORK, label_smoothing=0.2, positive_weights=torch.tensor([4.0]), **OPTIONS)
    logits, target = torch.tensor([[0.0]]), torch.tensor([[1.0]])
    # target 0.9: 4 x 0.9 x log 2 + 0.1 x log 2
    assert task.step(batch(logits, target), "train").loss.item() == pytest.approx(3.7 * math.log(2))
    assert task.step(batch(logits, target), "val").loss.item() == pytest.approx(math.log(2))


def test_auroc_of_tags_leaves_out_tags_that_never_or_always_occur() -> None:
    scores = np.array([[3, 0, 1], [2, 0, 1], [1, 0, 1], [0, 0, 1]], dtype=np.float32)
    truth = np.array([[1, 0, 1], [0, 0, 1], [1, 0, 1], [0, 0, 1]], dtype=np.float32)
    task = MultiLabel(NETWORK, **OPTIONS)
    names = np.array(list("abcd"))
    # tag 0: three of the four pairs of positive and negative are in order
    assert task.metrics(CaseRows(names, scores, truth))["val_auroc"] == pytest.approx(0.75)
    never = task.metrics(CaseRows(names, scores, np.ones_like(truth)))
    assert math.isnan(never["val_auroc"])


def test_balanced_weights_of_a_worked_example() -> None:
    classes = np.array([0] * 6 + [1] * 3 + [2] * 1)
    weights = balanced_class_weights(classes, 4)
    assert weights.tolist() == pytest.approx([10 / 18, 10 / 9, 10 / 3, 0.0])
    assert float(weights[classes].mean()) == pytest.approx(1.0)
    tags = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 1], [0, 0, 1]], dtype=np.float32)
    assert balanced_positive_weights(tags).tolist() == [3.0, 1.0, 1.0]


class Recorder(nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        self.seen = input
        return input


class AddOne:
    def __init__(self) -> None:
        self.draws: list[float] = []

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        self.draws.append(float(torch.rand(1, generator=generator)))
        return input + 1, target

    def on_features(
        self, features: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return features + 10, target


def test_random_changes_happen_around_the_front_end_and_in_training_only() -> None:
    front_end, body, transforms = Recorder(), Recorder(), AddOne()
    task = SingleLabel(Network(front_end, body), n_classes=2, transforms=transforms, **OPTIONS)
    data = batch(torch.zeros(1, 2), torch.tensor([0]))
    task.step(data, "train")
    assert (front_end.seen[0, 0].item(), body.seen[0, 0].item()) == (1.0, 11.0)
    task.step(data, "val")
    assert (front_end.seen[0, 0].item(), body.seen[0, 0].item()) == (0.0, 0.0)


def test_the_draws_follow_from_seed_and_batch_number() -> None:
    transforms = AddOne()
    data = batch(torch.zeros(1, 2), torch.tensor([0]))
    for seed, number in [(1, 0), (1, 1), (1, 0), (2, 0)]:
        task = SingleLabel(NETWORK, n_classes=2, transforms=transforms, seed=seed, **OPTIONS)
        task.batch_counter = number
        task.step(data, "train")
    a, b, c, d = transforms.draws
    assert a == c
    assert len({a, b, d}) == 3


def test_features_are_float32_under_autocast_and_so_is_the_output() -> None:
    front_end, body = Recorder(), nn.Linear(2, 2)
    task = SingleLabel(Network(nn.Sequential(nn.Linear(2, 2), front_end), body), n_classes=2, **OPTIONS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        step = task.step(batch(torch.ones(1, 2), torch.tensor([0])), "val")
    assert front_end.seen.dtype == torch.float32
    assert step.output.dtype == torch.float32
