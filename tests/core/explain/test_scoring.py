"""What of an answer is explained."""

from __future__ import annotations

import pytest
import torch

from tessera.core.explain import log_odds


@pytest.mark.parametrize("classes", [2, 5])
def test_log_odds_are_those_of_the_softmax(classes: int) -> None:
    raw = 3 * torch.randn(7, classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p = raw.softmax(dim=1)
    torch.testing.assert_close(log_odds(raw), torch.log(p / (1 - p)))


def test_log_odds_of_two_classes_are_the_difference_of_their_logits_however_far_apart() -> None:
    raw = torch.tensor([[-300.0, 500.0]])
    assert log_odds(raw).tolist() == [[-800.0, 800.0]]
