"""The network's part of a prediction and the stitcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from tessera.core.data.case import Case
from tessera.core.data.geometry import Pixels, Region
from tessera.core.errors import ConfigError, DataError
from tessera.core.inference.fusion import FusionRule, Task
from tessera.core.inference.slots import Slots, queue_room, slot_of, waiting_limit
from tessera.core.inference.steps import ForwardPass, Steps, WindowStitcher

from .fakes import WINDOW, OddNetwork

CASE = Case(id="a", files={}, group="g")
REGIONS = [Region((i,), (i + 1,)) for i in range(3)]


class Known(nn.Module):
    """Gives a fixed raw output, whatever the input."""

    def __init__(self, *raw: float) -> None:
        super().__init__()
        self.raw = torch.tensor(raw)

    def forward(self, input: Tensor) -> Tensor:
        return self.raw.expand(len(input), -1)


def inputs(n: int, seed: int = 0) -> list[Tensor]:
    return list(torch.randn(n, 1, WINDOW, generator=torch.Generator().manual_seed(seed)))


def stitcher(fusion: FusionRule = "mean") -> WindowStitcher:
    return WindowStitcher(CASE, Pixels((3,)), REGIONS, task="class", fusion=fusion)


def test_batches_always_have_exactly_batch_size_rows() -> None:
    network = OddNetwork()
    forward = ForwardPass([network], task="class", batch_size=4)
    assert forward(inputs(9)).shape == (9, 3)
    forward.batch([None, inputs(1)[0]])
    assert network.batches == [4, 4, 4, 4]


def test_no_inputs_give_no_answers() -> None:
    assert len(ForwardPass([OddNetwork()], task="class", batch_size=4)([])) == 0


def test_an_answer_does_not_depend_on_what_shares_its_batch() -> None:
    forward = ForwardPass([OddNetwork()], task="class", batch_size=4)
    mine, others = inputs(1)[0], inputs(6, seed=1)
    alone = forward.batch([None, None, mine])[2]
    for a, b in [(others[0], others[1]), (others[2] * 1e6, others[3])]:
        assert np.array_equal(forward.batch([a, b, mine, a])[2], alone)


def test_numpy_and_torch_inputs_agree() -> None:
    forward = ForwardPass([OddNetwork()], task="class", batch_size=2)
    assert np.array_equal(forward(inputs(3)), forward([row.numpy() for row in inputs(3)]))


def test_temperature_divides_the_logits() -> None:
    forward = ForwardPass([Known(2.0, 0.0)], task="class", batch_size=1, temperature=2.0)
    assert forward(inputs(1))[0].tolist() == pytest.approx([np.e / (1 + np.e), 1 / (1 + np.e)])


def test_members_are_fused_by_the_rule() -> None:
    members = [Known(np.log(0.9), np.log(0.1)), Known(np.log(0.4), np.log(0.6))]
    for rule, expected in [("mean", 0.65), ("max", 0.9 / 1.5), ("geometric", 0.6 / (0.6 + 0.06**0.5))]:
        forward = ForwardPass(members, task="class", batch_size=2, fusion=rule)
        assert forward(inputs(1))[0, 0] == pytest.approx(expected), rule


def test_numbers_stay_mean_and_log_variance() -> None:
    members = [Known(1.0, np.log(0.5)), Known(3.0, np.log(1.5))]
    forward = ForwardPass(members, task="number", batch_size=2)
    assert forward(inputs(1))[0].tolist() == pytest.approx([2.0, np.log(2.0)])


def test_numbers_refuse_a_fusion_of_probabilities() -> None:
    with pytest.raises(ConfigError, match="means nothing for numbers"):
        ForwardPass([Known(0.0, 0.0)], task="number", batch_size=1, fusion="max")


@pytest.mark.parametrize("task", ["class", "tags", "number"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_is_never_hidden(task: Task, bad: float) -> None:
    answer = ForwardPass([Known(0.0, bad)], task=task, batch_size=1)(inputs(1))
    assert np.isnan(answer).all()


def test_a_shift_changes_the_answer_of_a_network_that_sees_places() -> None:
    plain = ForwardPass([OddNetwork()], task="class", batch_size=1)
    shifted = ForwardPass([OddNetwork()], task="class", batch_size=1, tta=("shift",))
    (row,) = inputs(1)
    by_hand = [plain([torch.roll(row, k * (WINDOW // 8), -1)])[0] for k in (0, 1, -1)]
    assert shifted([row])[0] == pytest.approx(np.mean(by_hand, axis=0), abs=1e-6)


def test_dropout_and_batch_norm_are_in_evaluation_mode() -> None:
    network = nn.Sequential(
        nn.Flatten(), nn.BatchNorm1d(WINDOW), nn.Dropout(0.9), nn.Linear(WINDOW, 2)
    ).train()
    forward = ForwardPass([network], task="class", batch_size=2)
    assert np.array_equal(forward(inputs(2)), forward(inputs(2)))


def test_the_stitcher_takes_regions_in_any_order() -> None:
    answers = np.array([[0.1, 0.9], [0.3, 0.7], [0.8, 0.2]], dtype=np.float32)
    forth, back = stitcher(), stitcher()
    for i in range(3):
        forth.add(i, answers[i])
        back.add(2 - i, answers[2 - i])
    assert np.array_equal(forth.finish().scores, answers)
    assert np.array_equal(back.finish().scores, answers)
    assert back.finish().summary == pytest.approx([0.4, 0.6])
    assert back.finish().regions == tuple(REGIONS)


def test_the_stitcher_keeps_a_copy() -> None:
    part, raw = stitcher(), np.array([1.0, 0.0], dtype=np.float32)
    for i in range(3):
        part.add(i, raw)
        raw[:] = 0.5
    assert part.finish().scores[0].tolist() == [1.0, 0.0]


def test_a_missing_region_is_an_error() -> None:
    part = stitcher()
    part.add(1, np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="2 of 3 regions are missing"):
        part.finish()


def test_a_region_added_twice_or_unknown_is_an_error() -> None:
    part = stitcher()
    part.add(1, np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="region 1 of 3 was added twice"):
        part.add(1, np.array([0.5, 0.5]))
    with pytest.raises(ValueError, match="region 3 of 3 does not exist"):
        part.add(3, np.array([0.5, 0.5]))


def test_output_that_is_not_finite_is_named_with_its_place() -> None:
    with pytest.raises(DataError, match=r"not finite(.|\n)*elements \(2,\) to \(3,\)"):
        stitcher().add(2, np.array([np.nan, 0.5]))


@given(st.text("0123456789abcdef", min_size=64, max_size=64), st.integers(1, 64))
def test_consecutive_regions_fill_the_batch(digest: str, size: int) -> None:
    assert sorted(slot_of(digest, i, size) for i in range(size)) == list(range(size))


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(4, 12))
def test_slots_give_every_item_once_in_its_row_and_never_hold_more_than_the_limit(
    order: list[int], limit: int
) -> None:
    slots: Slots[tuple[int, int]] = Slots(4, limit)
    seen = []
    for number, slot in enumerate(order):
        slots.add(slot, (slot, number))
        while slots.due:
            seen.append(slots.take())
        assert len(slots) < limit
    while slots:
        seen.append(slots.take())
    assert all(item is None or item[0] == row for batch in seen for row, item in enumerate(batch))
    taken = [item for batch in seen for item in batch if item is not None]
    assert sorted(number for _, number in taken) == list(range(len(order)))


def test_waiting_inputs_are_bounded_by_memory_and_never_below_one_batch() -> None:
    assert waiting_limit(16, (1, 220_500)) == 128
    assert waiting_limit(16, (1, 512, 512, 64)) == 16
    assert waiting_limit(64, (3, 512, 512)) == 85


def test_inputs_read_ahead_are_bounded_by_memory_and_never_none() -> None:
    assert queue_room(16, (1, 220_500)) == 16
    assert queue_room(16, (1, 192, 192, 192)) == 9
    assert queue_room(2, (4, 512, 512, 512)) == 1


def test_steps_come_from_a_bundle_of_the_synthetic_pipeline(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from tessera.core.testing import synthetic

    config = synthetic.synthetic_config(inference={"batch_size": 3, "tta": ["flip-1"]})
    target = synthetic.synthetic_targets()["label"]
    bundle = SimpleNamespace(
        path=tmp_path, pipeline=synthetic.SYNTHETIC, config=config, digest="d" * 64,
        card=SimpleNamespace(target=target), calibration=SimpleNamespace(temperature=2.0, fusion=None),
        networks=lambda device: [synthetic.network(config, n_outputs=3).eval()],
    )  # fmt: skip
    steps = Steps.from_bundle(bundle, device="cpu")
    assert steps.forward.batch_size == 3
    assert steps.identity.bundle_digest == "d" * 64
    assert "torch" in steps.identity.code_version
    patient = config.inference.model_copy(update={"timeout_s": 1.0})
    other = config.inference.model_copy(update={"fusion": "max"})
    digests = [
        Steps.from_bundle(bundle, device="cpu", inference=options).identity.config_digest
        for options in (None, patient, other)
    ]
    assert digests[0] == digests[1] != digests[2]
    wrong = config.inference.model_copy(update={"tta": ("flip-7",)})
    with pytest.raises(ConfigError, match="flip-7"):
        Steps.from_bundle(bundle, device="cpu", inference=wrong)


@pytest.mark.slow  # a process of its own
def test_inference_loads_no_training_stack() -> None:
    modules = "runner shards api steps ledger tiling score"
    heavy = ("lightning", "torchmetrics", "monai", "librosa", "sklearn", "matplotlib", "pandas")
    code = (
        "import importlib, sys\n"
        f"for name in '{modules}'.split(): importlib.import_module('tessera.core.inference.' + name)\n"
        f"sys.exit(' '.join(name for name in {heavy} if name in sys.modules) or 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, check=False
    )
    assert done.returncode == 0, done.stderr
