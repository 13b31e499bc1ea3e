"""Search over EfficientTDNN's networks within a limit."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from tessera.audio.models.efficient_tdnn import LARGEST, Subnet, count_macs, count_parameters
from tessera.audio.tdnn_space import FINE, CostLimit, SearchSpace, scaled_width, search, stage_space
from tessera.core.errors import ConfigError

TINY = SearchSpace(depths=(1, 2), widths=(8, 16), kernels=(1, 3), concats=(16, 24))


def everything(space: SearchSpace) -> list[Subnet]:
    return [
        Subnet(widths, kernels, concat)
        for depth in space.depths
        for widths in itertools.product(space.widths, repeat=depth + 1)
        for kernels in itertools.product(space.kernels, repeat=depth + 1)
        for concat in space.concats
    ]


def like(wanted: Subnet) -> object:
    """Score that is higher the more choices agree; 0 for all."""

    def score(subnet: Subnet) -> float:
        pairs = zip((*subnet.widths, *subnet.kernels), (*wanted.widths, *wanted.kernels), strict=False)
        differences = sum(a != b for a, b in pairs) + (subnet.concat != wanted.concat)
        return -float(differences + 10 * abs(subnet.depth - wanted.depth))

    return score


@pytest.mark.parametrize(
    ("full", "widths"), [(512, (128, 176, 256, 384, 512)), (1536, (384, 536, 768, 1152, 1536))]
)
def test_shares_of_a_width_are_the_sheets(full: int, widths: tuple[int, ...]) -> None:
    assert tuple(scaled_width(full, ratio) for ratio in (0.25, 0.35, 0.5, 0.75, 1.0)) == widths


def test_a_share_is_never_more_than_a_tenth_too_small() -> None:
    assert scaled_width(11, 1.0) == 16  # 8 would be 27 % less
    assert scaled_width(100, 0.01) == 8


def test_spaces_are_as_large_as_the_sheet_says() -> None:
    assert SearchSpace().size == 4_066_875
    assert FINE.size == 10_021_183_582_095
    assert FINE.largest == SearchSpace().largest == LARGEST
    kernel_stage = SearchSpace(depths=(4,), widths=(512,), concats=(1536,))
    depth_stage = SearchSpace(widths=(512,), concats=(1536,))
    assert (kernel_stage.size, depth_stage.size) == (243, 351)


def test_the_stages_train_what_the_sheet_says() -> None:
    sizes = {stage: stage_space(stage).size for stage in ("largest", "kernel", "depth", "width-2")}
    assert sizes == {"largest": 1, "kernel": 243, "depth": 351, "width-2": 4_066_875}
    assert stage_space("width-1").widths == (256, 384, 512)
    assert stage_space("width-2").concats == (384, 536, 768, 1152, 1536)
    assert all(
        stage_space(s).largest == LARGEST for s in ("largest", "kernel", "depth", "width-1", "width-2")
    )
    small = stage_space("width-2", width=16, depth=1, concat=32)
    assert (small.widths, small.depths, small.concats) == ((8, 16), (1,), (8, 16, 24, 32))


def test_every_network_of_a_space_is_drawn_and_no_other() -> None:
    rng = np.random.default_rng(0)
    drawn = {TINY.sample(rng) for _ in range(5000)}
    assert drawn == set(everything(TINY))
    assert len(drawn) == TINY.size == 2 * (4**2 + 4**3)


def test_children_are_networks_of_the_space() -> None:
    rng = np.random.default_rng(0)
    known = set(everything(TINY))
    parents = [TINY.sample(rng) for _ in range(40)]
    for one, other in itertools.product(parents, parents):
        assert TINY.cross(one, other, rng) in known
        assert TINY.mutate(one, rng, rate=0.5) in known
        assert TINY.mutate(one, rng, rate=0.0) == one
    assert TINY.cross(parents[0], parents[0], rng) == parents[0]


@pytest.mark.parametrize("limit", [CostLimit(parameters=17_000), CostLimit(macs=250_000, frames=30)])
def test_the_best_network_within_the_limit_is_found(limit: CostLimit) -> None:
    """By the score of largest cost, against all networks of a small space."""
    found = search(
        lambda s: float(count_parameters(s)),
        limit,
        np.random.default_rng(1),
        space=TINY,
        population=10,
        generations=30,
    )
    allowed = [s for s in everything(TINY) if limit.allows(s)]
    assert 10 < len(allowed) < TINY.size - 10
    assert all(limit.allows(one.subnet) for one in found)
    assert found[0].score == max(map(count_parameters, allowed))
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def test_descent_beats_as_many_random_draws() -> None:
    wanted = Subnet((128, 256, 512, 128), (1, 3, 5, 3), 536)
    score = like(wanted)

    def best(population: int, generations: int) -> float:
        rng = np.random.default_rng(3)
        found = search(score, CostLimit(), rng, population=population, generations=generations)  # type: ignore[arg-type]
        return found[0].score

    assert best(20, 30) > best(20 + 30 * 10, 0)


def test_the_same_generator_gives_the_same_search() -> None:
    def run(seed: int) -> list[Subnet]:
        rng = np.random.default_rng(seed)
        found = search(lambda s: -s.concat, CostLimit(parameters=2_000_000), rng, population=8, generations=3)
        return [one.subnet for one in found]

    assert run(5) == run(5) != run(6)


def test_no_network_is_scored_twice_and_an_exhausted_space_ends_the_search() -> None:
    scored: list[Subnet] = []

    def score(subnet: Subnet) -> float:
        scored.append(subnet)
        return 0.0

    search(score, CostLimit(), np.random.default_rng(0), space=TINY, population=200, generations=10**9)
    assert len(scored) == len(set(scored)) == TINY.size


def test_a_limit_only_the_smallest_meets_gives_the_smallest() -> None:
    small = SearchSpace().smallest
    limit = CostLimit(macs=count_macs(small))
    (found,) = search(lambda s: 1.0, limit, np.random.default_rng(0), population=3, generations=2)
    assert found.subnet == small


def test_a_limit_no_network_meets_is_refused_with_the_smallest_cost() -> None:
    with pytest.raises(ConfigError, match="no network of the search space is within the limit") as caught:
        search(lambda s: 1.0, CostLimit(parameters=443_967), np.random.default_rng(0))
    assert "443,968 parameters" in str(caught.value)


def test_a_score_that_is_no_number_is_refused() -> None:
    with pytest.raises(ConfigError, match="is no number"):
        search(lambda s: math.nan, CostLimit(), np.random.default_rng(0))
