"""Maps of what spoke for an output, beside the answers of a prediction."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from tessera.core.data.case import Case
from tessera.core.data.geometry import Pixels, Region
from tessera.core.explain import Occlusion, occlusion
from tessera.core.inference.extras import Extras, MapRule
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.steps import WindowStitcher
from tessera.core.network import Network

RULE = MapRule(1, Occlusion(window=2))
EXTRAS = Extras(answers=2, shape=(4, 4), maps=RULE)


def network(sign: float = 1.0) -> Network:
    body = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    with torch.no_grad():
        body[1].weight.copy_(sign * torch.arange(32.0).view(2, 16) / 32)
    return Network(nn.Identity(), body)


def test_a_map_follows_its_answer_and_is_the_mean_over_the_members() -> None:
    members = [network(), network(-0.5)]
    rows = [torch.randn(1, 4, 4, generator=torch.Generator().manual_seed(i)) for i in range(3)]
    plain = ForwardPass(members, task="class", batch_size=2)(rows)
    both = ForwardPass(members, task="class", batch_size=2, extras=EXTRAS)(rows)
    answers, maps, embeddings = EXTRAS.split(both)
    np.testing.assert_array_equal(answers, plain)
    assert embeddings is None
    assert maps is not None
    each = [occlusion(member, torch.stack(rows), 1, window=2) for member in members]
    np.testing.assert_allclose(maps, torch.stack(each).mean(dim=0).numpy(), atol=1e-6)


def test_the_stitcher_gives_each_region_its_map() -> None:
    regions = [Region((0, 0), (4, 4)), Region((0, 4), (4, 8))]
    case = Case(id="a", files={}, group="a")
    stitcher = WindowStitcher(case, Pixels((4, 8)), regions, task="class", fusion="mean", extras=EXTRAS)
    for index in (1, 0):
        stitcher.add(index, np.array([0.5, 0.5, *np.arange(16.0) + index], dtype=np.float32))
    maps = stitcher.finish().maps
    assert maps is not None
    assert maps.shape == (2, 4, 4)
    assert maps[1, 0, 0] == 1.0
