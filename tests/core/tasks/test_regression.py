from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import sklearn.metrics
import torch
from torch import Tensor, nn

from tessera.core.network import GaussianScale, Network, bounded
from tessera.core.run_config import OptimConfig
from tessera.core.tasks.gather import CaseRows
from tessera.core.tasks.regression import MomentRegression, Regression

OPTIONS: dict[str, Any] = {"optim": OptimConfig(), "total_steps": 10}
TASK = Regression(Network(nn.Identity(), nn.Identity()), **OPTIONS)


def test_the_loss_is_the_negative_log_density_of_a_normal_distribution() -> None:
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(8, 2, generator=generator), torch.randn(8, generator=generator)
    normal = torch.distributions.Normal(output[:, 0], (output[:, 1] / 2).exp())
    density = normal.log_prob(target)  # type: ignore[no-untyped-call]
    assert torch.allclose(TASK.losses(output, target, "train")["gaussian_nll"], -density, atol=1e-6)


def test_one_output_is_plain_squared_error() -> None:
    losses = TASK.losses(torch.tensor([[1.0], [3.0]]), torch.tensor([2.0, 0.0]), "train")
    assert losses["squared_error"].tolist() == [1.0, 9.0]


@pytest.mark.parametrize("start", [-200.0, 200.0])
def test_an_extreme_log_variance_costs_no_infinity_and_finds_back(start: float) -> None:
    s = torch.tensor([start], requires_grad=True)
    raw = torch.stack([torch.zeros(1), s], dim=1)
    loss = TASK.losses(GaussianScale()(raw), torch.ones(1), "train")["gaussian_nll"]
    loss.sum().backward()  # type: ignore[no-untyped-call]
    assert math.isfinite(loss.item())
    assert s.grad is not None
    assert float(s.grad) * start > 0  # descending moves it towards the bounds


def test_a_standardised_answer_comes_out_in_the_targets_unit() -> None:
    targets = torch.tensor([100.0, 300.0, 200.0])  # mean 200, standard deviation 100 sqrt(2 / 3)
    scale = GaussianScale()
    scale.fit(targets)
    raw = torch.tensor([[0.0, 0.0], [-1.0, math.log(4.0)]])
    sd = 100 * math.sqrt(2 / 3)
    expected = torch.tensor([[200.0, 2 * math.log(sd)], [200.0 - sd, 2 * math.log(2 * sd)]])
    assert torch.allclose(scale(raw), expected)


def test_the_loss_of_scaled_answers_is_that_of_standardised_ones_up_to_a_constant() -> None:
    targets = torch.tensor([1e6, 3e6, 7e6])
    scale = GaussianScale()
    scale.fit(targets)
    raw = torch.randn(3, 2, generator=torch.Generator().manual_seed(0))
    own = TASK.losses(scale(raw), targets, "train")["gaussian_nll"]
    standard = TASK.losses(raw, (targets - scale.shift) / scale.scale, "train")["gaussian_nll"]
    assert torch.allclose(own - standard, scale.scale.log().expand(3), atol=1e-4)


def test_equal_targets_leave_the_scale_at_one() -> None:
    scale = GaussianScale()
    scale.fit(torch.full((4,), 5.0))
    assert (float(scale.shift), float(scale.scale)) == (5.0, 1.0)


def test_a_log_variance_inside_the_bounds_is_left_alone() -> None:
    values = torch.linspace(-20, 20, 41)
    assert torch.allclose(bounded(values), values, atol=1e-6)


def test_mae_and_r_squared_are_those_of_scikit_learn_over_cases() -> None:
    rng = np.random.default_rng(0)
    output = rng.normal(size=(12, 2)).astype(np.float32)
    names = np.repeat([f"c{i}" for i in range(6)], 2)
    truth = np.repeat(rng.normal(size=6), 2).astype(np.float32)
    values = TASK.metrics(CaseRows(names, output, truth))
    mean, target = output[:, 0].reshape(6, 2).mean(axis=1), truth[::2]
    assert values["val_mae"] == pytest.approx(sklearn.metrics.mean_absolute_error(target, mean), rel=1e-5)
    assert values["val_r2"] == pytest.approx(sklearn.metrics.r2_score(target, mean), rel=1e-5)


def test_r_squared_is_undefined_where_all_targets_are_equal() -> None:
    rows = CaseRows(np.array(["a", "b"]), np.zeros((2, 2), np.float32), np.ones(2, np.float32))
    assert math.isnan(TASK.metrics(rows)["val_r2"])


def test_several_numbers_cost_the_mean_of_what_each_costs() -> None:
    generator = torch.Generator().manual_seed(0)
    output, target = torch.randn(6, 4, generator=generator), torch.randn(6, 2, generator=generator)
    together = TASK.losses(output, target, "train")["gaussian_nll"]
    each = [TASK.losses(output[:, [i, i + 2]], target[:, i], "train")["gaussian_nll"] for i in (0, 1)]
    assert torch.allclose(together, (each[0] + each[1]) / 2)


def test_each_of_several_numbers_is_scaled_by_its_own_spread() -> None:
    targets = torch.tensor([[1.0, 100.0], [3.0, 300.0]])
    scale = GaussianScale((2,))
    scale.fit(targets)
    found = scale(torch.tensor([[1.0, -1.0, 0.0, 0.0]]))[0]
    assert found.tolist() == pytest.approx([3.0, 100.0, 0.0, 2 * math.log(100.0)])


def test_metrics_of_several_numbers_are_means_over_them() -> None:
    target = np.array([[0.0, 0.0], [1.0, 10.0], [2.0, 20.0]], dtype=np.float32)
    mean = np.array([[0.0, 5.0], [1.0, 5.0], [2.0, 5.0]], dtype=np.float32)
    rows = CaseRows(np.array(["a", "b", "c"]), np.concatenate([mean, mean * 0], axis=1), target)
    expected = sklearn.metrics.r2_score(target, mean, multioutput="uniform_average")
    assert TASK.metrics(rows)["val_r2"] == pytest.approx(expected)
    assert TASK.metrics(rows)["val_mae"] == pytest.approx(float(np.abs(target - mean).mean()))


def test_the_moments_loss_is_the_published_one_in_units_of_the_spread_and_ignores_rows_of_no_weight() -> None:
    scale = GaussianScale((1,))  # shift 0, scale 1
    task = MomentRegression(Network(nn.Identity(), nn.Identity(), scale), eps=1e-12, **OPTIONS)
    log_variance = 2 * math.log(0.2)
    output = torch.tensor([[0.1, log_variance], [-0.3, log_variance], [9.0, 0.0]])
    weight = torch.tensor([1.0, 1.0, 0.0])
    loss = task.weighed_losses(output, torch.zeros(3, 1), "train", weight)["moments"]
    assert loss.tolist() == pytest.approx([-9.372859] * 3, abs=1e-5)
    scale.scale.fill_(10.0)
    wider = torch.cat([output[:, :1] * 10, output[:, 1:] + 2 * math.log(10.0)], dim=1)
    again = task.weighed_losses(wider, torch.zeros(3, 1), "train", weight)["moments"]
    assert again.tolist() == pytest.approx(loss.tolist(), abs=1e-5)


class Blurred:
    """Changes that write what a convolution gave into the rows they change."""

    def on_input(self, input: Tensor, target: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        del generator
        changed = input.clone()
        changed[torch.tensor([0])] = nn.functional.conv1d(input[:1], torch.ones(1, 1, 1))
        return changed, target

    def on_features(
        self, features: Tensor, target: Tensor, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        return self.on_input(features, target, generator)


def test_random_changes_are_made_in_float32_whatever_the_network_computes_in() -> None:
    network = Network(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(4, 2)))
    task = Regression(network, transforms=Blurred(), **OPTIONS)
    batch: Any = {"input": torch.rand(2, 1, 4), "target": torch.zeros(2), "weight": torch.ones(2)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output, _, _ = task.models(batch, "train")
    assert output.shape == (2, 2)
