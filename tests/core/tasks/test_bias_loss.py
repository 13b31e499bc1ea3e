"""Bias loss in the tasks: cross-entropy times a factor of the last map, in training only."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tessera.core.backbone import Classifier, Encoder, EncoderLayout
from tessera.core.backbone.losses.bias_loss import BiasWeights
from tessera.core.data.sample import Batch
from tessera.core.network import Network
from tessera.core.run_config import OptimConfig
from tessera.core.tasks.base import Task
from tessera.core.tasks.classification import MultiLabel, SingleLabel

OPTIONS: dict[str, Any] = {"optim": OptimConfig(), "total_steps": 10}
FEATURES = torch.tensor([[0.0, 2.0], [0.0, 4.0], [0.0, 6.0]])  # variances 2, 8, 18
FACTORS = torch.tensor([0.7, 0.81907231, 1.04985881])


class Given(nn.Module):
    """Says what it is told: its input is the last map."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)]

    def maps_and_logits(self, x: Tensor) -> tuple[list[Tensor], Tensor]:
        return [torch.zeros_like(x), x], self(x)


def batch(target: Tensor, features: Tensor = FEATURES, weight: tuple[float, ...] = (1.0, 1.0, 1.0)) -> Batch:
    n = len(features)
    return {
        "input": features,
        "target": target,
        "case_id": [f"c{i}" for i in range(n)],
        "region": [],
        "weight": torch.tensor(weight),
    }


def single(logits: Tensor, **options: Any) -> SingleLabel:
    network = Network(nn.Identity(), Given(logits))
    return SingleLabel(network, n_classes=logits.shape[1], map_weights=BiasWeights(), **OPTIONS, **options)


def test_loss_of_the_worked_example() -> None:
    step = single(torch.zeros(3, 2)).step(batch(torch.tensor([0, 1, 1])), "train")
    assert step.loss.item() == pytest.approx(0.59354907, abs=1e-7)


def test_each_row_is_weighted_by_its_own_map() -> None:
    logits, target = torch.randn(3, 5), torch.tensor([4, 0, 2])
    each = F.cross_entropy(logits, target, reduction="none", label_smoothing=0.1)
    step = single(logits, label_smoothing=0.1).step(batch(target), "train")
    torch.testing.assert_close(step.loss, (each * FACTORS).mean())
    torch.testing.assert_close(step.losses["cross_entropy"], step.loss.detach())


@pytest.mark.parametrize("stage", ["val", "test"])
def test_validation_and_test_know_no_factors(stage: Any) -> None:
    logits, target = torch.randn(3, 5), torch.tensor([4, 0, 2])
    step = single(logits).step(batch(target), stage)
    torch.testing.assert_close(step.loss, F.cross_entropy(logits, target))


def test_rows_that_fill_a_batch_change_neither_factors_nor_loss() -> None:
    logits, target = torch.randn(4, 5), torch.tensor([4, 0, 2, 2])
    filled = batch(target, torch.cat([FEATURES, torch.tensor([[0.0, 1e3]])]), (1.0, 1.0, 1.0, 0.0))
    alone = single(logits).step(batch(target[:3]), "train").loss
    torch.testing.assert_close(single(logits).step(filled, "train").loss, alone)


def test_tags_are_weighted_too() -> None:
    logits, target = torch.randn(3, 2), torch.tensor([[0.0, 1.0], [1.0, 1.0], [0.0, 0.0]])
    task = MultiLabel(Network(nn.Identity(), Given(logits)), map_weights=BiasWeights(), **OPTIONS)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction="none").mean(1)
    torch.testing.assert_close(task.step(batch(target), "train").loss, (each * FACTORS).mean())


def network() -> Network:
    layout = EncoderLayout(widths=(8,), depths=(1,), strides=(1,), stem_width=8, drop_path=0.2)
    return Network(nn.Identity(), Classifier(Encoder(2, in_channels=1, layout=layout), 3))


def test_equal_factors_give_the_gradient_of_cross_entropy() -> None:
    """With alpha 0 every factor is 1 - beta, so all gradients are; the network is passed through once."""
    torch.manual_seed(0)
    body = network()
    data = batch(torch.tensor([0, 1, 2, 1]), torch.randn(4, 1, 16, 16), (1.0,) * 4)
    gradients = []
    for weights in (None, BiasWeights(alpha=0.0, beta=0.5)):
        task: Task = SingleLabel(body, n_classes=3, map_weights=weights, **OPTIONS)
        torch.manual_seed(1)
        body.zero_grad()
        task.step(data, "train").loss.backward()  # type: ignore[no-untyped-call]
        gradients.append([p.grad.clone() for p in body.parameters() if p.grad is not None])
    plain, half = gradients
    assert len(plain) == len(list(body.parameters()))
    for a, b in zip(plain, half, strict=True):
        torch.testing.assert_close(b, a / 2)


def test_compiled_body_gives_the_same_map_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[Any] = []

    def compile(function: Any, **_: Any) -> Any:
        compiled.append(function)
        return function

    monkeypatch.setattr(torch, "compile", compile)
    body = network().eval()
    x = torch.randn(2, 1, 16, 16)
    last, answer = body.map_and_answer(x)
    body.compile_body()
    body.compile_body()
    assert body.body.maps_and_logits in compiled
    assert len(compiled) == 2  # the body and its maps, once each
    for a, b in zip(body.map_and_answer(x), (last, answer), strict=True):
        assert torch.equal(a, b)
