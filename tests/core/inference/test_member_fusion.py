"""Fusion of a bundle's members by shares and by a learnt map, against numbers worked by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import nn

from tessera.core.bundle.card import MemberFusion
from tessera.core.errors import ConfigError
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.member_fusion import fuse_members

# Nanni et al. 2021, worked in our sheet: the sum rule says class 1, a vote of the three would say class 0.
THREE = [[0.6, 0.4, 0.0], [0.1, 0.8, 0.1], [0.5, 0.3, 0.2]]


class Fixed(nn.Module):
    """Answers the same logits to every row."""

    def __init__(self, *probabilities: float) -> None:
        super().__init__()
        self.logits = torch.tensor(probabilities).log()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(x), -1)


def test_equal_shares_are_the_sum_rule() -> None:
    fused = fuse_members(THREE, MemberFusion(weights=(1, 1, 1)), task="class")
    assert fused.tolist() == pytest.approx([0.4, 0.5, 0.1])


def test_shares_are_relative() -> None:
    fused = fuse_members(THREE, MemberFusion(weights=(3, 0, 1)), task="class")
    assert fused.tolist() == pytest.approx([2.3 / 4, 1.5 / 4, 0.2 / 4])


def test_learnt_map_of_ones_is_the_product_rule() -> None:
    eye = np.eye(2)
    fusion = MemberFusion(matrix=tuple(map(tuple, np.hstack([eye, eye]).tolist())), bias=(0.0, 0.0))
    fused = fuse_members([[0.8, 0.2], [0.4, 0.6]], fusion, task="class")
    assert fused.tolist() == pytest.approx([0.32 / 0.44, 0.12 / 0.44])


def test_bias_multiplies_the_odds() -> None:
    fusion = MemberFusion(matrix=((1.0, 0.0), (0.0, 1.0)), bias=(np.log(3.0), 0.0))
    assert fuse_members([[0.5, 0.5]], fusion, task="class").tolist() == pytest.approx([0.75, 0.25])


def test_tags_add_their_log_odds_one_by_one() -> None:
    """Odds 9 and 1/4 to the powers 1 and 2: 9/16; odds 1 and 3 to the powers 0 and 1, doubled: 6."""
    fusion = MemberFusion(matrix=((1.0, 2.0), (0.0, 1.0)), bias=(0.0, np.log(2.0)))
    fused = fuse_members([[0.9, 0.5], [0.2, 0.75]], fusion, task="tags")
    assert fused.tolist() == pytest.approx([9 / 25, 6 / 7])


def test_certain_members_do_not_break_the_learnt_map() -> None:
    fusion = MemberFusion(matrix=((1.0, 0.0), (0.0, 1.0)), bias=(0.0, 0.0))
    assert fuse_members([[0.0, 1.0]], fusion, task="class").tolist() == pytest.approx([0.0, 1.0], abs=1e-6)


@pytest.mark.parametrize("tta", [(), ("identity", "flip-0")])
def test_a_forward_pass_fuses_its_members_by_their_shares(tta: tuple[str, ...]) -> None:
    networks = [Fixed(*[max(p, 1e-30) for p in row]) for row in THREE]
    fusion = MemberFusion(weights=(3, 0, 1))
    forward = ForwardPass(networks, task="class", batch_size=2, tta=tta, member_fusion=fusion)
    answer = forward([np.zeros((1, 4), dtype=np.float32)])
    assert answer[0].tolist() == pytest.approx([2.3 / 4, 1.5 / 4, 0.2 / 4], rel=1e-6)


@pytest.mark.parametrize(
    ("task", "fusion", "message"),
    [
        ("class", {"weights": (1, 1)}, "another number of members"),
        ("class", {"matrix": ((1.0,), (1.0,), (1.0,)), "bias": (0, 0, 0)}, "another number of members"),
        ("tags", {"matrix": ((1.0, 1.0),) * 3, "bias": (0, 0, 0)}, "another number of members"),
        ("number", {"weights": (1, 1, 1)}, "numbers are not weighed"),
    ],
)
def test_a_fusion_for_other_members_is_refused(task: Any, fusion: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ForwardPass(
            [Fixed(*row) for row in THREE], task=task, batch_size=1, member_fusion=MemberFusion(**fusion)
        )


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give weights, or matrix and bias"),
        ({"weights": (1,), "matrix": ((1,),), "bias": (0,)}, "give weights, or matrix and bias"),
        ({"matrix": ((1,),)}, "of equal length"),
        ({"matrix": ((1,), (1, 2)), "bias": (0, 0)}, "different lengths"),
        ({"weights": (0, 0)}, "all zero"),
        ({"weights": (1, -1)}, "greater than or equal to 0"),
    ],
)
def test_a_fusion_that_makes_no_sense_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        MemberFusion(**values)
