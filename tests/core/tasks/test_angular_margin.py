"""Additive angular margin against the sheet's worked numbers, and as the loss of a task."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tessera.core.backbone.losses.angular_margin import AngularMargin
from tessera.core.data.sample import Batch
from tessera.core.network import Network
from tessera.core.run_config import OptimConfig
from tessera.core.tasks.classification import SingleLabel

SHEET = AngularMargin(margin=0.2, scale=30.0)


def test_the_worked_example_of_the_sheet() -> None:
    logits = torch.tensor([[15.0, 15.0]])  # two cosines of 0.5
    found = SHEET(logits, torch.tensor([[1.0, 0.0]]))
    torch.testing.assert_close(found, torch.tensor([[9.539418, 15.0]]), atol=2e-6, rtol=0)
    loss = F.cross_entropy(found, torch.tensor([0]))
    assert float(loss) == pytest.approx(math.log1p(math.exp(15.0 - 9.539418)), abs=1e-5)


def test_beyond_the_turning_point_the_margin_is_a_straight_line() -> None:
    """At cosines of -0.980067 and below: s (cos - sin(pi - m) m)."""
    one = torch.ones(1, 1)
    for cosine in (-0.985, -0.999, -1.0):
        found = float(SHEET(torch.tensor([[30.0 * cosine]]), one))
        assert found == pytest.approx(30 * (cosine - math.sin(math.pi - 0.2) * 0.2), abs=1e-4)
    above = float(SHEET(torch.tensor([[30.0 * -0.979]]), one))
    assert above == pytest.approx(30 * math.cos(math.acos(-0.979) + 0.2), abs=1e-3)


@given(st.floats(-0.97, 0.999), st.floats(0.0, 1.0))
def test_the_angle_grows_by_the_margin(cosine: float, margin: float) -> None:
    if math.acos(cosine) + margin >= math.pi - 1e-3:
        return
    found = float(AngularMargin(margin=margin, scale=1.0)(torch.tensor([[cosine]]), torch.ones(1, 1)))
    assert math.acos(max(-1.0, min(1.0, found))) == pytest.approx(math.acos(cosine) + margin, abs=2e-3)


def test_a_soft_target_takes_its_share_of_the_margin() -> None:
    logits = torch.tensor([[15.0, 15.0, 15.0]])
    found = SHEET(logits, torch.tensor([[0.75, 0.25, 0.0]]))[0]
    gap = 15.0 - 9.539418
    torch.testing.assert_close(
        found, torch.tensor([15 - 0.75 * gap, 15 - 0.25 * gap, 15.0]), atol=1e-5, rtol=0
    )


def test_gradients_are_finite_where_an_embedding_lies_on_its_class() -> None:
    logits = torch.tensor([[30.0, -30.0]], requires_grad=True)
    SHEET(logits, torch.tensor([[1.0, 0.0]])).sum().backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(("margin", "scale"), [(-0.1, 30.0), (1.6, 30.0), (0.2, 0.0)])
def test_margins_that_make_no_sense_are_refused(margin: float, scale: float) -> None:
    with pytest.raises(ValueError, match="give a margin"):
        AngularMargin(margin=margin, scale=scale)


class Given(nn.Module):
    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = nn.Parameter(logits)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits[: len(x)]


def test_the_margin_makes_training_harder_and_leaves_validation_alone() -> None:
    logits, target = torch.tensor([[15.0, 15.0], [15.0, 15.0]]), torch.tensor([0, 1])
    options: dict[str, Any] = {"optim": OptimConfig(), "total_steps": 10}
    task = SingleLabel(Network(nn.Identity(), Given(logits)), n_classes=2, margin=SHEET, **options)
    batch: Batch = {
        "input": torch.zeros(2, 1),
        "target": target,
        "case_id": ["a", "b"],
        "region": [],
        "weight": torch.ones(2),
    }
    assert task.step(batch, "train").loss.item() == pytest.approx(5.464824, abs=1e-5)
    assert task.step(batch, "val").loss.item() == pytest.approx(math.log(2), abs=1e-6)
