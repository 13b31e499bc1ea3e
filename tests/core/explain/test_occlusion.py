"""Occlusion against its closed form and MONAI's."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from tessera.core.explain import occlusion

from .networks import Weighted, encoder

visualize = pytest.importorskip("monai.visualize")


@pytest.mark.parametrize(
    ("size", "window", "stride"),
    [((15,), 3, 2), ((9, 12), (3, 5), (2, 1)), ((5, 7, 6), (1, 3, 5), 1)],
)
def test_of_a_weighted_sum_it_is_the_windows_share(
    size: tuple[int, ...], window: int | tuple[int, ...], stride: int | tuple[int, ...]
) -> None:
    weights, x = torch.randn(2, 2, *size), torch.randn(2, 2, *size)
    map = occlusion(Weighted(weights), x, 1, window=window, stride=stride, fill=0.5)
    lost = (weights[1] * (x - 0.5)).sum(1)
    widths = (window,) * len(size) if isinstance(window, int) else window
    steps = (stride,) * len(size) if isinstance(stride, int) else stride
    starts = [range(0, n - w + 1, s) for n, w, s in zip(size, widths, steps, strict=True)]
    for corner in itertools.product(*starts):
        box: Any = tuple(slice(c, c + w) for c, w in zip(corner, widths, strict=True))
        centre: Any = tuple(c + w // 2 for c, w in zip(corner, widths, strict=True))
        share = lost[(slice(None), *box)].flatten(1).sum(1)
        torch.testing.assert_close(map[(slice(None), *centre)], share, rtol=1e-4, atol=1e-4)


# MONAI 1.6.1 with torch 2.14: it indexes with a list of slices, which torch will read otherwise one day
@pytest.mark.filterwarnings("ignore:Using a non-tuple sequence:UserWarning")
@pytest.mark.parametrize(("d", "tiles"), [(1, 7), (2, 5), (3, 3)])
def test_it_is_what_monais_windows_side_by_side_leave_of_the_score(d: int, tiles: int) -> None:
    network, x = encoder(d), torch.randn(1, 2, *(3 * tiles,) * d)  # type: ignore[arg-type]
    theirs, _ = visualize.OcclusionSensitivity(
        network, mask_size=3, n_batch=4, mode=0.25, overlap=0.0, activate=False, verbose=False
    )(x)
    ours = occlusion(network, x, 2, window=3, stride=3, fill=0.25)
    centres: Any = (0, *(slice(1, None, 3),) * d)
    score = network(x)[0, 2].detach()
    expected = score - torch.as_tensor(theirs)[(0, 2, *centres[1:])]
    assert expected.abs().max() > 1e-3
    torch.testing.assert_close(ours[centres], expected, rtol=1e-3, atol=1e-5)


def test_between_centres_it_is_linear_and_beyond_them_constant() -> None:
    weights, x = torch.randn(1, 1, 12), torch.randn(1, 1, 12)
    map = occlusion(Weighted(weights), x, 0, window=5, stride=5)[0]  # corners 0, 5, 7; centres 2, 7, 9
    assert torch.equal(map[:2], map[2].expand(2))
    assert torch.equal(map[9:], map[9].expand(3))
    torch.testing.assert_close(map[4], 0.6 * map[2] + 0.4 * map[7])
    torch.testing.assert_close(map[9], (weights * x)[0, 0, 7:].sum())


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 20), st.integers(1, 8), st.integers(1, 8), st.integers(1, 9))
def test_every_element_is_covered_and_batches_stay_small(
    size: int, window: int, stride: int, batch_size: int
) -> None:
    network = Weighted(torch.ones(1, 1, size))
    x = torch.ones(1, 1, size)
    occlusion(network, x, 0, window=window, stride=min(stride, window), batch_size=batch_size)
    seen = torch.cat(network.seen)[:, 0]
    assert torch.equal(seen[0], x[0, 0])
    assert bool((seen[1:] == 0).any(0).all())
    assert bool(((seen[1:] == 0).sum(1) == min(window, size)).all())
    assert len(torch.unique(seen, dim=0)) == len(seen)  # no window twice
    assert max(map(len, network.seen)) <= batch_size


def test_the_size_of_batches_changes_nothing() -> None:
    network, x = encoder(2), torch.randn(2, 2, 20, 20)
    maps = [occlusion(network, x, 0, window=6, stride=3, batch_size=n) for n in (1, 7, 100)]
    torch.testing.assert_close(maps[1], maps[0], rtol=1e-3, atol=1e-5)
    torch.testing.assert_close(maps[2], maps[0], rtol=1e-3, atol=1e-5)


def test_rows_are_explained_as_if_they_were_alone() -> None:
    network, x = encoder(2), torch.randn(3, 2, 20, 20)
    together = occlusion(network, x, torch.tensor([2, 0, 1]), window=6)
    for row, index in enumerate((2, 0, 1)):
        assert torch.equal(together[row], occlusion(network, x[row : row + 1], index, window=6)[0])


def test_each_channel_can_have_its_own_fill() -> None:
    network = Weighted(torch.ones(1, 2, 6))
    x = torch.tensor([[1.0], [5.0]]).expand(1, 2, 6)
    assert not occlusion(network, x, 0, window=2, fill=x.mean(dim=2, keepdim=True)).any()
    assert occlusion(network, x, 0, window=2, fill=1.0).eq(8.0).all()


def test_the_one_bright_spot_is_found() -> None:
    x = torch.zeros(1, 1, 32, 32)
    x[..., 20, 9] = 1.0
    network = nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten())
    map = occlusion(network, x, 0, window=5, stride=1)[0]
    assert map[20, 9] == 1.0
    assert float(map.sum()) == 25.0  # all windows that cover it, and no other


def test_an_activation_changes_what_is_explained() -> None:
    network, x = Weighted(torch.ones(1, 1, 4)), torch.ones(1, 1, 4)
    map = occlusion(network, x, 0, window=2, stride=2, activation=torch.sigmoid)
    expected = torch.sigmoid(torch.tensor(4.0)) - torch.sigmoid(torch.tensor(2.0))
    torch.testing.assert_close(map, expected.expand(1, 4))


def test_dropout_is_off_meanwhile_and_on_afterwards() -> None:
    network = nn.Sequential(nn.Dropout(0.5), Weighted(torch.ones(1, 1, 8)))
    x = torch.ones(1, 1, 8)
    assert occlusion(network, x, 0, window=2).eq(2.0).all()
    assert network[0].training


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"window": 3, "stride": 4}, "never covered"),
        ({"window": 0}, "window 0"),
        ({"window": (2, 2)}, "window"),
        ({"window": 2, "stride": 0}, "stride 0"),
    ],
)
def test_unfit_windows_are_refused(options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        occlusion(Weighted(torch.ones(1, 1, 8)), torch.ones(1, 1, 8), 0, **options)  # type: ignore[arg-type]


@pytest.mark.gpu
def test_a_gpu_gives_the_same() -> None:
    network, x = encoder(2), torch.randn(2, 2, 20, 20)
    expected = occlusion(network, x, 0, window=6)
    found = occlusion(network.cuda(), x.cuda(), 0, window=6)
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-3, atol=1e-4)
