"""SimpleViT against its count, torch's own transformer and its positions' formula."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tessera.astronomy.models.simple_vit import Layer, SimpleViT, patches, positions


def count(*args: Any, **options: Any) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in SimpleViT(*args, **options).parameters())


def tiny(**options: Any) -> SimpleViT:
    small = {"patch": 4, "width": 8, "depth": 2, "heads": 2, "head_width": 6, "hidden": 12}
    return SimpleViT(3, **(small | options)).eval()


def test_it_has_the_sheets_number_of_parameters() -> None:
    assert count(4) == 1_588_420
    assert count(4, depth=7) == 1_588_420 - 197_952


def test_a_layer_equals_torchs_where_torch_has_it() -> None:
    """Heads as wide as together the tokens, torch's biases of the attention at zero."""
    ours = Layer(12, heads=3, head_width=4, hidden=20)
    theirs = nn.TransformerEncoderLayer(
        12, 3, 20, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
    )
    first, second = (m for m in ours.mlp if isinstance(m, nn.Linear))
    pairs = [
        (theirs.self_attn.in_proj_weight, ours.qkv.weight),
        (theirs.self_attn.out_proj.weight, ours.proj.weight),
        (theirs.linear1.weight, first.weight),
        (theirs.linear1.bias, first.bias),
        (theirs.linear2.weight, second.weight),
        (theirs.linear2.bias, second.bias),
    ]
    with torch.no_grad():
        for target, source in pairs:
            target.copy_(source)
        for bias in (theirs.self_attn.in_proj_bias, theirs.self_attn.out_proj.bias):
            bias.zero_()
    x = torch.randn(2, 7, 12)
    torch.testing.assert_close(ours(x), theirs(x))


def test_patches_hold_their_pixels_row_after_row() -> None:
    x = torch.arange(2 * 4 * 6).reshape(1, 2, 4, 6).float()
    cut = patches(x, 2)
    assert cut.shape == (1, 6, 8)
    # second row, third column of patches: pixels (2, 4), (2, 5), (3, 4), (3, 5), both channels of each
    assert cut[0, 5].tolist() == [16, 40, 17, 41, 22, 46, 23, 47]


def test_positions_follow_their_formula() -> None:
    table = positions((3, 5), 8, device=torch.device("cpu"))
    assert table.shape == (15, 8)
    row, column = 2, 4
    waves = [1.0, 1e-4]
    expected = [f(place * w) for place in (column, row) for f in (math.sin, math.cos) for w in waves]
    torch.testing.assert_close(table[row * 5 + column], torch.tensor(expected))


def test_every_place_has_its_own_position() -> None:
    table = positions((32, 32), 64, device=torch.device("cpu"))
    distance = torch.cdist(table, table) + torch.eye(len(table)) * 10
    assert float(distance.min()) > 0.1


def test_without_positions_patches_could_change_places(monkeypatch: pytest.MonkeyPatch) -> None:
    network, x = tiny(), torch.randn(1, 1, 8, 8)
    swapped = x.roll(4, dims=3)
    assert not torch.allclose(network(x), network(swapped), atol=1e-4)
    monkeypatch.setattr(
        "tessera.astronomy.models.simple_vit.positions", lambda *_args, **_options: torch.zeros(())
    )
    torch.testing.assert_close(network(x), network(swapped))


def test_the_image_may_have_any_size_that_patches_divide() -> None:
    network = tiny(in_channels=2)
    assert network.last_map(torch.randn(1, 2, 12, 20)).shape == (1, 8, 3, 5)
    assert network(torch.randn(2, 2, 4, 4)).shape == (2, 3)


@pytest.mark.parametrize("shape", [(1, 1, 8, 10), (1, 1, 10, 8), (1, 8, 8)])
def test_unfit_input_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="multiples of the patch, 4"):
        tiny()(torch.zeros(shape))


@pytest.mark.parametrize("width", [4, 10])
def test_a_width_without_room_for_positions_is_refused(width: int) -> None:
    with pytest.raises(ValueError, match="multiple of 4 from 8 up"):
        tiny(width=width)
