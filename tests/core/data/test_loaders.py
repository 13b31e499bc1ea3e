from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.data.case import Case, Source
from tessera.core.data.collate import collate
from tessera.core.data.geometry import Pixels, Region
from tessera.core.data.loaders import (
    DrawnRegions,
    EpochBatches,
    PlannedRegions,
    ResumableLoader,
    SampleKey,
)
from tessera.core.data.sources import Unkept
from tessera.core.errors import DataError
from tessera.core.tasks.classification import balanced_odds
from tessera.core.testing.synthetic import SIDE, SquareWindows, SyntheticReader, synthetic_cases

WINDOWS = SquareWindows(8)
CASES = synthetic_cases(10)
TARGETS = {case.id: np.asarray(i, dtype=np.int64) for i, case in enumerate(CASES)}


@dataclass
class CountingOpener:
    opened: list[str] = field(default_factory=list)

    def __call__(self, case: Case) -> Source:
        self.opened.append(case.id)
        return SyntheticReader().open(case)


def drawn(cases: tuple[Case, ...] = CASES, opener: Any = None) -> DrawnRegions:
    opener = opener or Unkept(SyntheticReader(), WINDOWS)
    return DrawnRegions(cases, seed=7, open_source=opener, windows=WINDOWS, targets=TARGETS)


def loader(workers: int = 0, **options: Any) -> ResumableLoader:
    return ResumableLoader(drawn(**options), EpochBatches(10, batch_size=4, seed=7), workers=workers)


def ids(batches: Any) -> list[list[str]]:
    return [batch["case_id"] for batch in batches]


def test_tensors_are_stacked_and_the_rest_stays_a_list() -> None:
    samples: list[Any] = [
        {
            "input": torch.full((1, 2), i),
            "target": torch.tensor(i),
            "case_id": str(i),
            "geometry": Pixels((2,)),
        }
        for i in range(3)
    ]
    samples[1]["weight"] = 0.5
    batch = collate(samples)
    assert batch["input"].shape == (3, 1, 2)
    assert batch["target"].tolist() == [0, 1, 2]
    assert batch["case_id"] == ["0", "1", "2"]
    assert batch["geometry"] == [Pixels((2,))] * 3
    assert batch["weight"].tolist() == [1.0, 0.5, 1.0]
    assert "region" not in batch


def test_targets_of_different_shape_stay_a_list() -> None:
    samples: list[Any] = [{"input": torch.zeros(1), "target": torch.zeros(n)} for n in (1, 2)]
    target = collate(samples)["target"]
    assert isinstance(target, list)
    assert [len(item) for item in target] == [1, 2]


def test_samples_without_targets_make_a_batch_without_targets() -> None:
    assert "target" not in collate([{"input": torch.zeros(1)}])


@given(n=st.integers(1, 60), size=st.integers(1, 20), world=st.integers(1, 4), epoch=st.integers(0, 3))
def test_every_sample_comes_once_an_epoch_over_all_ranks(n: int, size: int, world: int, epoch: int) -> None:
    ranks = [EpochBatches(n, batch_size=size, seed=3, rank=r, world_size=world) for r in range(world)]
    for batches in ranks:
        batches.start_at(epoch, 0)
    dealt = [list(batches) for batches in ranks]
    assert {len(batches) for batches in dealt} == {len(ranks[0])}
    counted = Counter(key.place for rank in dealt for batch in rank for key in batch if key.weight)
    assert counted == dict.fromkeys(range(n), 1)
    sizes = {len(batch) for rank in dealt for batch in rank}
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_the_order_follows_from_seed_and_epoch() -> None:
    first, second = (EpochBatches(50, batch_size=8, seed=5) for _ in range(2))
    assert first.order(3).tolist() == second.order(3).tolist()
    assert first.order(3).tolist() != first.order(4).tolist()
    assert first.order(3).tolist() != EpochBatches(50, batch_size=8, seed=6).order(3).tolist()


def test_balanced_sampling_draws_rare_classes_as_often_as_common_ones() -> None:
    classes = np.repeat([0, 1, 2], [80, 15, 5])
    batches = EpochBatches(100, batch_size=10, seed=1, odds=balanced_odds(classes))
    drawn_classes = classes[np.concatenate([batches.order(epoch) for epoch in range(90)])]
    share = np.bincount(drawn_classes) / len(drawn_classes)
    # 9000 draws: the standard deviation of a share of one third is 0.005
    assert np.abs(share - 1 / 3).max() < 0.02


def test_tags_are_balanced_by_the_rarest_tag_of_a_case() -> None:
    tags = np.array([[1, 0]] * 8 + [[1, 1]] * 2, dtype=np.float32)
    odds = balanced_odds(tags)
    assert odds[-1] / odds[0] == pytest.approx(5.0)  # tag 0 occurs 10 times, tag 1 twice


def test_a_case_drawn_twice_in_an_epoch_gives_two_draws() -> None:
    odds = np.array([1.0] + [1e-9] * 9)
    keys = EpochBatches(10, batch_size=4, seed=0, odds=odds).keys(0)
    assert [key.repeat for key in keys if key.place == 0] == list(range(10))
    regions = {drawn()[key]["region"] for key in keys}  # type: ignore[index]
    assert len(regions) > 3


def test_a_training_region_is_drawn_from_seed_epoch_and_place() -> None:
    sample: Any = drawn()[SampleKey(epoch=4, place=2)]
    rng = np.random.default_rng([7, 4, 2])
    top, left = (int(rng.integers(0, SIDE - 8 + 1)) for _ in range(2))
    assert sample["region"] == Region((top, left), (top + 8, left + 8))
    whole = SyntheticReader().open(CASES[2]).read()["input"]
    assert torch.equal(sample["input"], whole[:, top : top + 8, left : left + 8])
    assert (sample["case_id"], int(sample["target"])) == ("case002", 2)


def test_planned_regions_cover_every_case_in_order() -> None:
    planned = PlannedRegions(
        CASES[:2], open_source=Unkept(SyntheticReader(), WINDOWS), windows=WINDOWS, targets={}
    )
    samples: list[Any] = [planned[SampleKey(0, place)] for place in range(len(planned))]
    corners = [Region((0, 0), (8, 8)), Region((4, 4), (12, 12))]
    assert [(s["case_id"], s["region"]) for s in samples] == [
        (case.id, region) for case in CASES[:2] for region in corners
    ]


def test_resuming_gives_the_rest_without_loading_what_was_consumed() -> None:
    whole = loader()
    everything = ids([*whole, *whole])
    begun = loader()
    iterator = iter(begun)
    next(iterator), next(iterator)
    opener = CountingOpener()
    resumed = loader(opener=opener)
    resumed.load_state_dict(begun.state_dict())
    rest = ids(resumed)
    assert rest == everything[2:3]
    assert opener.opened == rest[0]
    assert ids(resumed) == everything[3:]


def test_the_position_after_an_epoch_is_the_start_of_the_next() -> None:
    batches = loader()
    list(batches)
    assert batches.state_dict() == {"epoch": 1, "batch": 0}
    assert batches.handed_out == len(batches) == 3
    batches.set_epoch(5)
    assert batches.state_dict() == {"epoch": 5, "batch": 0}


def test_loading_leaves_the_ambient_random_state_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    list(loader())
    assert torch.equal(torch_state, torch.get_rng_state())
    assert np.array_equal(numpy_state, np.random.get_state()[1])  # type: ignore[index]


def test_nothing_to_load_is_an_error() -> None:
    with pytest.raises(DataError, match="nothing to load"):
        EpochBatches(0, batch_size=4, seed=0)


BROKEN = synthetic_cases(10, broken=[6])


def test_an_unreadable_case_is_named() -> None:
    with pytest.raises(DataError, match="case case006: the synthetic file is broken") as caught:
        list(loader(cases=BROKEN))
    assert caught.value.found == "0 bytes"
    with pytest.raises(DataError, match="case case006"):
        PlannedRegions(BROKEN, open_source=SyntheticReader().open, windows=WINDOWS, targets={})


def test_any_error_of_reading_names_the_case() -> None:
    def fails(case: Case) -> Source:
        raise OSError("no such device")

    with pytest.raises(DataError, match=r"case case00.: OSError: no such device"):
        list(loader(opener=fails))


@pytest.mark.slow
def test_workers_change_neither_order_nor_values() -> None:
    alone, together = loader(), loader(workers=2)
    for _ in range(2):
        for a, b in zip(alone, together, strict=True):
            assert a["case_id"] == b["case_id"]
            assert a["region"] == b["region"]
            assert torch.equal(a["input"], b["input"])
    together.close()


@pytest.mark.slow
def test_an_unreadable_case_is_named_from_a_worker_too() -> None:
    batches = loader(workers=1, cases=BROKEN)
    with pytest.raises(DataError, match="case case006: the synthetic file is broken") as caught:
        list(batches)
    assert caught.value.found == "0 bytes"
    batches.close()
