from __future__ import annotations

import pytest
import torch

from tessera.core.errors import ConfigError
from tessera.core.transforms.mixup import Mixup, MixupParams


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_rows_are_blended_with_their_partners() -> None:
    params = MixupParams(share=torch.tensor([1.0, 0.75]), partner=torch.tensor([1, 0]))
    x = torch.tensor([[[0.0, 4.0]], [[8.0, 0.0]]])
    assert Mixup(0.4).apply(x, params).tolist() == [[[0.0, 4.0]], [[6.0, 1.0]]]
    target = torch.eye(2)
    assert Mixup(0.4).apply(target, params).tolist() == [[1.0, 0.0], [0.25, 0.75]]


@pytest.mark.parametrize(("alpha", "mean"), [(1.0, 0.75), (1e-3, 1.0), (2.0, 0.6875)])
def test_the_share_follows_a_folded_beta_distribution(alpha: float, mean: float) -> None:
    # Beta(1, 1) is uniform: E max(b, 1 - b) = 3/4. Beta(2, 2): 1/2 + 3/16. Beta(0, 0): all or nothing.
    share = Mixup(alpha).draw(torch.Size([20_000, 1]), generator()).share
    assert float(share.min()) >= 0.5
    assert float(share.max()) <= 1.0
    assert float(share.mean()) == pytest.approx(mean, abs=5e-3)


def test_partners_are_a_permutation_and_draws_repeat() -> None:
    first, second = (Mixup(0.3).draw(torch.Size([50, 1]), generator(3)) for _ in range(2))
    assert sorted(first.partner.tolist()) == list(range(50))
    assert torch.equal(first.share, second.share)
    assert torch.equal(first.partner, second.partner)


def test_mixed_probabilities_still_sum_to_one() -> None:
    mixup = Mixup(0.4)
    target = torch.eye(5)
    mixed = mixup.apply(target, mixup.draw(target.shape, generator()))
    assert mixed.sum(dim=1).tolist() == pytest.approx([1.0] * 5)


def test_a_mixup_that_mixes_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="mixup_alpha"):
        Mixup(0.0)
