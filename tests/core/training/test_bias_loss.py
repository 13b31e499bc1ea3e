"""Runs with ``task.loss: bias``: train, resume, and the runs that cannot have it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tessera.core.config import load_yaml
from tessera.core.errors import ConfigError
from tessera.core.testing.synthetic import SyntheticConfig, synthetic_config
from tessera.core.training.checkpoints import network_weights
from tessera.core.training.history import read_metrics

from .conftest import Workbench
from .test_resume import Configure, Kill, assert_same, killed_and_resumed, result

CLASSIFIER: dict[str, Any] = {
    "kind": "classifier",
    "encoder": {
        "widths": [8, 16],
        "depths": [1, 1],
        "strides": [1, 2],
        "stem_width": 8,
        "stem_stride": 1,
        "stem_pool": None,
    },
}
GHOSTNET = {"kind": "reference", "name": "ghostnet-1.0", "options": {"width": 0.1}}


def test_a_batch_is_learnt_by_heart_with_bias_loss(bench: Workbench) -> None:
    config = synthetic_config(
        model=CLASSIFIER,
        task={"loss": "bias"},
        optim={"lr": 0.02, "weight_decay": 0.0},
        trainer={"max_epochs": 20, "batch_size": 32},
    )
    rows = read_metrics(bench.fit("run", config).folder / "metrics.csv")
    assert rows[0]["train_loss"] > 0.6  # type: ignore[operator]
    assert rows[-1]["train_loss"] < 0.1  # type: ignore[operator]
    assert rows[-1]["val_accuracy"] == 1.0


@pytest.mark.parametrize("model", [CLASSIFIER, GHOSTNET], ids=["classifier", "reference"])
@pytest.mark.parametrize("loss", ["bias", {"kind": "bias", "alpha": 0.5, "beta": 0.1, "scale": "global"}])
def test_a_run_with_bias_loss_says_so_and_keeps_its_state_out_of_the_network(
    bench: Workbench, model: dict[str, Any], loss: Any
) -> None:
    run = bench.fit("run", synthetic_config(model=model, task={"loss": loss}, trainer={"max_epochs": 1}))
    assert load_yaml(run.folder / "config.yaml")["task"]["loss"]["kind"] == "bias"
    assert not any("lowest" in name for name in network_weights(run.last))


def test_bias_loss_ends_in_other_weights_than_cross_entropy(bench: Workbench) -> None:
    kinds = ("likelihood", "bias", {"kind": "bias", "scale": "global"})
    runs = [
        bench.fit(str(n), synthetic_config(model=CLASSIFIER, task={"loss": kind}))
        for n, kind in enumerate(kinds)
    ]
    weights = [torch.cat([w.double().flatten() for w in network_weights(run.last).values()]) for run in runs]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])


@pytest.mark.parametrize("n", [2, 4])
def test_a_kill_changes_nothing_with_the_least_variance_of_all_batches(
    bench: Workbench, configure: Configure, n: int
) -> None:
    config = configure(
        model=CLASSIFIER,
        task={"loss": {"kind": "bias", "scale": "global"}},
        trainer={"max_epochs": 2},
    )
    whole = bench.fit("whole", config)
    assert torch.load(whole.last, weights_only=True)["state_dict"]["map_weights.lowest"].isfinite()
    assert_same(
        result(whole), result(killed_and_resumed(bench, "killed", config, Kill("on_train_batch_end", n)))
    )


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({}, r"last feature map(?s:.*)Sequential, which keeps its maps(?s:.*)task\.loss=likelihood"),
        ({"model": {"kind": "reference", "name": "dhvt-t-patch2", "options": {"depth": 1}}}, r"found: +DHVT"),
        ({"model": CLASSIFIER, "data": {"target": "period"}}, "period is a number"),
    ],
)
def test_a_run_that_cannot_have_bias_loss_is_refused_at_the_start(
    bench: Workbench, sections: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        bench.fit("run", synthetic_config(task={"loss": "bias"}, **sections))
    assert not (bench.folder / "run").exists()


def test_tags_train_with_bias_loss(bench: Workbench) -> None:
    config = synthetic_config(
        model=CLASSIFIER, task={"loss": "bias"}, data={"target": "tags"}, trainer={"max_epochs": 1}
    )
    assert bench.fit("run", config).steps > 0


@pytest.mark.parametrize(
    ("loss", "message"),
    [
        ("baias", r"task\.loss\.kind(?s:.*)'likelihood', 'bias'.*, not 'baias'"),
        ({"alpha": 0.5}, r"task\.loss\.kind"),
        ({"kind": "bias", "alfa": 0.5}, r"unknown field task\.loss\.alfa(?s:.*)did you mean alpha"),
        ({"kind": "bias", "beta": 1.0}, r"task\.loss\.beta"),
    ],
)
def test_a_wrong_loss_is_told_with_its_field(loss: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        synthetic_config(task={"loss": loss})


def test_a_config_written_before_there_was_a_choice_means_likelihood() -> None:
    values = synthetic_config().model_dump(mode="json")
    del values["task"]["loss"], values["model"]["kind"]
    assert SyntheticConfig.model_validate(values) == synthetic_config(task={"loss": "likelihood"})
