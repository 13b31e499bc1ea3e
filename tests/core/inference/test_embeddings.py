"""Embeddings beside the answers of a prediction."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tessera.core.data.case import Case
from tessera.core.data.geometry import Pixels, Region
from tessera.core.errors import ConfigError
from tessera.core.inference.embeddings import check_embeddings, embed
from tessera.core.inference.extras import Extras
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.steps import WindowStitcher
from tessera.core.network import Network


class Body(nn.Module):
    """Its embedding is its input, its logits the first two numbers of it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.embed(x)[:, :2]

    def embed(self, x: Tensor) -> Tensor:
        return x.flatten(1)


def network(factor: float = 1.0) -> Network:
    scale = nn.Linear(2, 2, bias=False)
    with torch.no_grad():
        scale.weight.copy_(factor * torch.eye(2))
    return Network(scale, Body())


EMBEDDINGS = Extras(answers=2, shape=(2,), embeddings=True)
ROWS = [torch.tensor([values]) for values in ([3.0, 4.0], [0.0, 5.0], [-2.0, 0.0])]


def test_embeddings_have_length_one_and_members_lie_side_by_side() -> None:
    found = embed([network(), network(-2.0)], torch.stack(ROWS))
    torch.testing.assert_close(found[0], torch.tensor([0.6, 0.8, -0.6, -0.8]))
    torch.testing.assert_close(found[2], torch.tensor([-1.0, 0.0, 1.0, 0.0]))


def test_an_embedding_follows_its_answer_and_leaves_it_as_it_was() -> None:
    plain = ForwardPass([network()], task="class", batch_size=4)(ROWS)
    both = ForwardPass([network()], task="class", batch_size=4, extras=EMBEDDINGS)(ROWS)
    np.testing.assert_array_equal(both[:, :2], plain)
    np.testing.assert_allclose(both[:, 2:], [[0.6, 0.8], [0.0, 1.0], [-1.0, 0.0]], atol=1e-6)
    shaken = ForwardPass([network()], task="class", batch_size=4, extras=EMBEDDINGS, tta=["flip-0"])(ROWS)
    np.testing.assert_array_equal(shaken[:, 2:], both[:, 2:])  # of the unchanged input


def test_the_stitcher_tells_answers_from_embeddings() -> None:
    regions = [Region((0,), (2,)), Region((2,), (4,))]
    stitcher = WindowStitcher(
        Case(id="a", files={}, group="a"),
        Pixels((4,)),
        regions,
        task="class",
        fusion="mean",
        extras=EMBEDDINGS,
    )
    stitcher.add(1, np.array([0.2, 0.8, 5.0, 6.0, 7.0], dtype=np.float32))
    stitcher.add(0, np.array([0.4, 0.6, 1.0, 2.0, 3.0], dtype=np.float32))
    result = stitcher.finish()
    assert result.embeddings is not None
    np.testing.assert_array_equal(result.embeddings, [[1, 2, 3], [5, 6, 7]])
    np.testing.assert_allclose(result.scores, [[0.4, 0.6], [0.2, 0.8]], rtol=1e-6)
    np.testing.assert_allclose(result.summary, [0.3, 0.7], rtol=1e-6)


def test_a_network_without_an_embedding_is_refused_by_name() -> None:
    check_embeddings([network()], source="bundle")
    with pytest.raises(ConfigError, match=r"bundle: its network has no embedding(?s:.*)Flatten"):
        check_embeddings([network(), Network(nn.Identity(), nn.Flatten())], source="bundle")
