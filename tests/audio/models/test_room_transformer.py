"""The room transformer against its sheet's counts and against timm's distilled DeiT."""

from __future__ import annotations

from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from tessera.audio.models.room_transformer import RoomTransformer, from_image_weights, resized_positions

SMALL: dict[str, Any] = {"width": 24, "depth": 2, "heads": 3}


def parameters(outputs: int, rows: int, frames: int, **options: Any) -> int:
    with torch.device("meta"):
        network = RoomTransformer(outputs, shape=(rows, frames), **options)
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    ("outputs", "rows", "frames", "expected"),
    [
        (1, 30, 1997, 85_564_417),
        (1, 20, 1997, 85_411_585),
        (527, 128, 1024, 86_594_063),  # AST on AudioSet
        (50, 128, 512, 85_757_234),  # AST on ESC-50
    ],
)
def test_the_parameters_are_those_of_the_sheet(outputs: int, rows: int, frames: int, expected: int) -> None:
    assert parameters(outputs, rows, frames) == expected


def test_one_layer_has_the_parameters_of_the_sheet() -> None:
    difference = parameters(1, 30, 1997) - parameters(1, 30, 1997, depth=11)
    assert difference == 7_087_872


@pytest.mark.parametrize(
    ("shape", "grid"), [((30, 1997), (2, 199)), ((25, 1997), (1, 199)), ((128, 1024), (12, 101))]
)
def test_patches_overlap_and_an_incomplete_one_is_left_out(
    shape: tuple[int, int], grid: tuple[int, int]
) -> None:
    with torch.device("meta"):
        assert RoomTransformer(1, shape=shape, **SMALL).grid == grid


def photographs_network() -> Any:
    return timm.create_model(
        "deit_tiny_distilled_patch16_224",
        img_size=64,
        embed_dim=24,
        depth=2,
        num_heads=3,
        num_classes=4,
    ).eval()


def test_with_the_weights_of_a_distilled_deit_it_gives_that_networks_embedding() -> None:
    deit = photographs_network()
    for parameter in deit.parameters():
        parameter.data.normal_(std=0.3)
    network = RoomTransformer(1, shape=(64, 64), stride=16, **SMALL).eval()
    network.load_state_dict(from_image_weights(deit.state_dict(), network, grid=(4, 4)), strict=False)
    grey = torch.randn(3, 1, 64, 64)
    with torch.no_grad():
        expected = deit.forward_features(grey.expand(-1, 3, -1, -1))[:, :2].mean(dim=1)
        torch.testing.assert_close(network.embed(grey), expected, atol=1e-4, rtol=1e-4)


def test_positions_of_another_grid_are_the_middle_rows_and_the_stretched_columns() -> None:
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    places = torch.stack([rows, columns], dim=-1).reshape(1, 576, 2)
    special = torch.tensor([[[7.0, 8.0], [9.0, 10.0]]])
    found = resized_positions(torch.cat([special, places], dim=1), grid=(24, 24), to=(2, 199))
    assert torch.equal(found[:, :2], special)
    table = found[0, 2:].reshape(2, 199, 2)
    torch.testing.assert_close(table[..., 0], torch.tensor([[11.0], [12.0]]).expand(2, 199))
    expected = ((torch.arange(199.0) + 0.5) * 24 / 199 - 0.5).clamp(0, 23)  # centres of cells
    torch.testing.assert_close(table[..., 1], expected.expand(2, 199), atol=1e-4, rtol=0)


def test_positions_of_the_same_grid_stay() -> None:
    positions = torch.randn(1, 2 + 6, 5)
    assert torch.equal(resized_positions(positions, grid=(2, 3), to=(2, 3)), positions)


def test_weights_of_another_width_are_refused() -> None:
    network = RoomTransformer(1, shape=(64, 64), width=48, depth=2, heads=3)
    with pytest.raises(ValueError, match="do not fit"):
        from_image_weights(photographs_network().state_dict(), network, grid=(4, 4))
    deeper = RoomTransformer(1, shape=(64, 64), **{**SMALL, "depth": 3})
    with pytest.raises(ValueError, match="missing"):
        from_image_weights(photographs_network().state_dict(), deeper, grid=(4, 4))


@pytest.fixture
def network() -> RoomTransformer:
    return RoomTransformer(2, shape=(33, 57), **SMALL).eval()


def test_gradient_reaches_every_parameter(network: RoomTransformer) -> None:
    network(torch.randn(2, 1, 33, 57)).square().sum().backward()
    assert [n for n, p in network.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


def test_each_row_is_answered_for_itself(network: RoomTransformer) -> None:
    x = torch.randn(3, 1, 33, 57)
    together: Tensor = network(x)
    assert together.shape == (3, 2)
    alone = torch.cat([network(row[None]) for row in x])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together[0], together[1], atol=1e-4)


def test_the_place_of_a_sound_matters_through_the_positions_alone() -> None:
    network = RoomTransformer(2, shape=(32, 80), stride=16, **SMALL).eval()
    x = torch.zeros(1, 1, 32, 80)
    x[..., :16, :16] = 1.0
    moved = x.roll(48, dims=-1)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
        assert not torch.allclose(network(x), network(moved), atol=1e-4)
        network.positions.zero_()
        torch.testing.assert_close(network(x), network(moved), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shape", [(1, 1, 33, 56), (1, 2, 33, 57), (1, 33, 57)])
def test_another_size_is_refused(network: RoomTransformer, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected"):
        network(torch.zeros(shape))


def test_a_picture_smaller_than_a_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="holds no patch"):
        RoomTransformer(1, shape=(12, 100))
