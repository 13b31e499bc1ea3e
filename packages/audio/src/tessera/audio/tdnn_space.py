"""Search for the best network of EfficientTDNN within a limit of parameters or multiply-adds.

After Wang et al., arXiv 2103.13581: a genetic search over subnets of one trained supernet. What a subnet is
worth is the caller's to say, for instance minus its error rate on validation data after `refit_norms`; the
paper's predictor of it is such a function too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from tessera.audio.models.efficient_tdnn import Subnet, count_macs, count_parameters
from tessera.core.errors import ConfigError

Stage = Literal["largest", "kernel", "depth", "width-1", "width-2"]
RATIOS = (0.25, 0.35, 0.5, 0.75, 1.0)  # widths of the coarse space, paper
LEAST_DEPTH = 2
TRIES = 1000  # draws in vain, one after the other, before there seems to be no other network
DIVISOR = 8


def scaled_width(width: int, ratio: float) -> int:
    """The multiple of 8 nearest to a share of a width, never more than a tenth below it."""
    exact = width * ratio
    nearest = max(DIVISOR, int(exact + DIVISOR / 2) // DIVISOR * DIVISOR)
    return nearest if nearest >= 0.9 * exact else nearest + DIVISOR


@dataclass(frozen=True)
class SearchSpace:
    """The choices; each layer chooses its width and its kernel by itself.

    Args:
        depths: Numbers of blocks.
        widths: Channels between and inside blocks.
        kernels: Frames of a kernel.
        concats: Channels pooled over time.
    """

    depths: tuple[int, ...] = (2, 3, 4)
    widths: tuple[int, ...] = tuple(scaled_width(512, ratio) for ratio in RATIOS)
    kernels: tuple[int, ...] = (1, 3, 5)
    concats: tuple[int, ...] = tuple(scaled_width(1536, ratio) for ratio in RATIOS)

    @property
    def largest(self) -> Subnet:
        """The network that holds all others."""
        layers = max(self.depths) + 1
        return Subnet((max(self.widths),) * layers, (max(self.kernels),) * layers, max(self.concats))

    @property
    def smallest(self) -> Subnet:
        """The network with the fewest of everything."""
        layers = min(self.depths) + 1
        return Subnet((min(self.widths),) * layers, (min(self.kernels),) * layers, min(self.concats))

    @property
    def size(self) -> int:
        """Number of different networks."""
        a_layer = len(self.widths) * len(self.kernels)
        return len(self.concats) * sum(a_layer ** (depth + 1) for depth in self.depths)

    def sample(self, rng: np.random.Generator) -> Subnet:
        """One network: its depth, then each choice uniformly."""
        layers = int(rng.choice(self.depths)) + 1
        widths, kernels = rng.choice(self.widths, layers), rng.choice(self.kernels, layers)
        return Subnet(_ints(widths), _ints(kernels), int(rng.choice(self.concats)))

    def sample_by_seed(self, seed: int) -> Subnet:
        """The network of a seed."""
        return self.sample(np.random.default_rng(seed))

    def mutate(self, subnet: Subnet, rng: np.random.Generator, *, rate: float) -> Subnet:
        """Draw each choice anew with a probability; added blocks are drawn, the last ones are dropped."""
        fresh = self.sample(rng)
        layers = fresh.depth + 1 if rng.random() < rate else subnet.depth + 1

        def choose(old: Sequence[int], among: Sequence[int]) -> tuple[int, ...]:
            drawn, again = _ints(rng.choice(among, layers)), rng.random(layers) < rate
            return tuple(drawn[i] if i >= len(old) or again[i] else old[i] for i in range(layers))

        widths, kernels = choose(subnet.widths, self.widths), choose(subnet.kernels, self.kernels)
        return Subnet(widths, kernels, fresh.concat if rng.random() < rate else subnet.concat)

    def cross(self, one: Subnet, other: Subnet, rng: np.random.Generator) -> Subnet:
        """A child as deep as the first parent, each choice that of either."""
        depth = one.depth + 1

        def choose(a: Sequence[int], b: Sequence[int]) -> tuple[int, ...]:
            take = rng.random(depth) < 0.5
            return tuple(b[i] if take[i] and i < len(b) else a[i] for i in range(depth))

        widths, kernels = choose(one.widths, other.widths), choose(one.kernels, other.kernels)
        return Subnet(widths, kernels, other.concat if rng.random() < 0.5 else one.concat)


FINE = SearchSpace(widths=tuple(range(128, 513, 8)), concats=tuple(range(384, 1537, 8)))
"""The paper's space of 10^13 networks; `SearchSpace()` is its coarse one."""


def stage_space(stage: Stage, *, width: int = 512, depth: int = 4, concat: int = 1536) -> SearchSpace:
    """The networks that are trained in a stage, up to those of this width, depth and concat."""
    kernels, depths = (1, 3, 5), tuple(range(min(LEAST_DEPTH, depth), depth + 1))
    ratios = {"width-1": RATIOS[2:], "width-2": RATIOS}.get(stage, (1.0,))
    return SearchSpace(
        depths=(depth,) if stage in ("largest", "kernel") else depths,
        widths=tuple(dict.fromkeys(scaled_width(width, ratio) for ratio in ratios)),
        kernels=kernels[-1:] if stage == "largest" else kernels,
        concats=tuple(dict.fromkeys(scaled_width(concat, ratio) for ratio in ratios)),
    )


@dataclass(frozen=True, kw_only=True)
class CostLimit:
    """The most a network may cost; None is no limit.

    Args:
        parameters: Trainable numbers.
        macs: Multiply-adds of one input, as the paper counts them.
        frames: Length of that input.
        n_mels: Its bands.
        embedding: Length of the embedding.
    """

    parameters: int | None = None
    macs: int | None = None
    frames: int = 300
    n_mels: int = 80
    embedding: int = 192

    def allows(self, subnet: Subnet) -> bool:
        """Whether a network stays within."""
        sizes = {"n_mels": self.n_mels, "embedding": self.embedding}
        if self.parameters is not None and count_parameters(subnet, **sizes) > self.parameters:
            return False
        return self.macs is None or count_macs(subnet, frames=self.frames, **sizes) <= self.macs


@dataclass(frozen=True)
class Found:
    """A network and its score."""

    subnet: Subnet
    score: float


def search(
    score: Callable[[Subnet], float],
    limit: CostLimit,
    rng: np.random.Generator,
    *,
    space: SearchSpace = SearchSpace(),
    population: int = 50,
    generations: int = 200,
    mutation: float = 0.1,
) -> list[Found]:
    """All networks that were scored within a limit, the best first; the same generator gives the same list.

    Each generation keeps the better half and fills up with children of it, half of them mutated from one
    parent and half crossed from two. No network is scored twice. Without generations it is a random search.

    Args:
        score: What a network is worth; higher is better.
        limit: What it may cost.
        rng: Source of all draws.
        space: The choices.
        population: Networks alive at a time, 2 or more.
        generations: How often they have children.
        mutation: Probability of each choice to be drawn anew.
    """
    if not limit.allows(space.smallest):
        raise ConfigError(
            "no network of the search space is within the limit",
            found=f"{count_parameters(space.smallest):,} parameters and "
            f"{count_macs(space.smallest, frames=limit.frames):,} multiply-adds of the smallest",
            expected=str(limit),
        )
    scores: dict[Subnet, float] = {}

    def fill(alive: list[Subnet], draw: Callable[[], Subnet]) -> None:
        """Add networks that were not scored yet, or as many as can be found."""
        in_vain = 0
        while len(alive) < population and in_vain < TRIES:
            subnet = draw()
            in_vain += 1
            if subnet not in scores and limit.allows(subnet):
                scores[subnet] = _finite(score(subnet), subnet)
                alive.append(subnet)
                in_vain = 0

    def rank() -> list[Subnet]:
        return sorted(scores, key=scores.__getitem__, reverse=True)  # stable: earlier ones win ties

    fill([], lambda: space.sample(rng))
    if not scores:  # so few are within the limit that none was drawn: begin with the one that surely is
        scores[space.smallest] = _finite(score(space.smallest), space.smallest)
    for _ in range(generations):
        parents = rank()[: max(1, population // 2)]

        def child(parents: list[Subnet] = parents) -> Subnet:
            one, other = (parents[int(i)] for i in rng.integers(0, len(parents), 2))
            if rng.random() < 0.5:
                return space.mutate(one, rng, rate=mutation)
            return space.cross(one, other, rng)

        known = len(scores)
        fill(list(parents), child)
        if len(scores) == known:
            break
    return [Found(subnet, scores[subnet]) for subnet in rank()]


def _finite(score: float, subnet: Subnet) -> float:
    if not math.isfinite(score):
        raise ConfigError(f"the score of {subnet} is no number", found=score, expected="a finite number")
    return score


def _ints(values: npt.NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
