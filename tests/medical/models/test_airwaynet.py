"""AirwayNet: the worked numbers of connectivity coding, and the exact counts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tessera.medical.models.airwaynet import (
    OFFSETS,
    AirwayNet,
    connectivity_loss,
    decode,
    encode,
    voxel_score,
)


def block(*sides: int, at: slice = slice(1, -1)) -> torch.Tensor:
    mask = torch.zeros(1, *(side + 2 for side in sides))
    mask[:, at, at, at] = 1
    return mask


def random_mask() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).random((8, 8, 8)) < 0.2)[None]


def test_the_opposite_of_channel_i_is_25_minus_i() -> None:
    assert all(OFFSETS[25 - i] == tuple(-step for step in offset) for i, offset in enumerate(OFFSETS))


def test_three_voxels_in_a_line_have_four_connections() -> None:
    code = encode(block(1, 1, 3)).sum(dim=1)
    assert code.sum() == 4
    assert code[0, 1, 1, 1:4].tolist() == [1, 2, 1]


def test_a_cube_of_three_has_316() -> None:
    code = encode(block(3, 3, 3)).sum(dim=1)[0]
    assert code.sum() == 316
    assert [int(code[place]) for place in ((2, 2, 2), (1, 2, 2), (1, 1, 2), (1, 1, 1))] == [26, 17, 11, 7]


def test_borders_count_inside_pairs_only() -> None:
    assert encode(torch.ones(1, 4, 4, 4)).sum() == 936


def test_a_pair_is_seen_from_both_sides() -> None:
    code = encode(random_mask())[0]
    for channel, (a, b, c) in enumerate(OFFSETS):
        there = np.roll(code[25 - channel].numpy(), (-a, -b, -c), axis=(0, 1, 2))
        inside = tuple(slice(1, -1) for _ in range(3))
        assert np.array_equal(code[channel].numpy()[inside], there[inside])


def test_decoding_gives_the_mask_without_its_isolated_voxels() -> None:
    mask = random_mask()
    back = decode(encode(mask))
    assert (int(mask.sum()), int(back.sum())) == (99, 97)
    assert not bool((back & ~mask).any())
    assert decode(encode(block(1, 1, 1))).sum() == 0


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 1000), agreement=st.sampled_from(["mean", "product", "min"]))
def test_perfect_maps_decode_alike_by_every_rule(seed: int, agreement: str) -> None:
    mask = torch.rand((1, 5, 6, 4), generator=torch.Generator().manual_seed(seed)) < 0.3
    code = encode(mask)
    connected = code.sum(dim=1) > 0
    assert torch.equal(decode(code, agreement=agreement), connected)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "agreement", "voxels"), [(0.0, "mean", 0), (0.0, "min", 0), (0.2, "mean", 2), (0.2, "min", 0)]
)
def test_two_sides_must_agree(other: float, agreement: str, voxels: int) -> None:
    pairs = torch.zeros(1, 26, 3, 3, 3)
    channel = OFFSETS.index((0, 0, 1))
    pairs[0, channel, 1, 1, 1] = 0.9
    pairs[0, 25 - channel, 1, 1, 2] = other
    assert int(decode(pairs, agreement=agreement).sum()) == voxels  # type: ignore[arg-type]


def test_thirteen_directions_say_what_all_26_say() -> None:
    pairs = torch.rand((1, 26, 4, 5, 3), generator=torch.Generator().manual_seed(1))
    slow = torch.zeros(4, 5, 3)
    for place in np.ndindex(4, 5, 3):
        for channel, offset in enumerate(OFFSETS):
            there = tuple(int(p + o) for p, o in zip(place, offset, strict=True))
            if all(0 <= t < s for t, s in zip(there, (4, 5, 3), strict=True)):
                mean = (pairs[0, channel][place] + pairs[0, 25 - channel][there]) / 2
                slow[place] = max(slow[place], mean)
    assert torch.allclose(voxel_score(pairs)[0], slow)


def test_counts_of_the_sheet() -> None:
    with torch.device("meta"):
        counts = [sum(p.numel() for p in AirwayNet(extra_channels=e).parameters()) for e in (4, 0)]
    assert counts == [4_119_706, 4_117_978]


def test_the_arg_max_of_the_logits_is_the_decoded_mask() -> None:
    torch.manual_seed(0)
    net = AirwayNet(extra_channels=1)
    x = torch.randn(1, 2, 16, 16, 32)
    with torch.no_grad():
        pairs = net.train()(x).sigmoid()
        net.threshold = float(voxel_score(pairs).median()) + 1e-4
        logits = net.eval()(x)
    assert logits.shape == (1, 2, 16, 16, 32)
    mask = decode(pairs, threshold=net.threshold)
    assert 0 < int(mask.sum()) < mask.numel()
    assert torch.equal(logits[:, 1] >= logits[:, 0], mask)


def test_loss_of_perfect_and_of_empty_maps() -> None:
    code = encode(block(3, 3, 3))
    assert torch.allclose(connectivity_loss(code, code), torch.zeros(1))
    none = connectivity_loss(torch.zeros_like(code), code)
    by_hand = np.mean([1 - 1 / (int(total) + 1) for total in code[0].flatten(1).sum(1)])
    assert none.item() == pytest.approx(by_hand)


def test_gradients_reach_every_parameter() -> None:
    torch.manual_seed(0)
    net = AirwayNet(extra_channels=1).train()
    target = (torch.rand(1, 16, 16, 32) < 0.3).long()
    losses = net.training_losses(net(torch.randn(1, 2, 16, 16, 32)), target)
    losses["connectivity"].sum().backward()
    silent = {name for name, p in net.named_parameters() if p.grad is None or not (p.grad != 0).any()}
    assert not silent
