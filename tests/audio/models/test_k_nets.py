"""k2c2, k2c1 and k1c2 against the counts and maps of their paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tessera.audio.models.k_nets import VARIANTS, KNet, VariantName

FRAMES = 1366  # 29.12 s at 12 kHz
TIME: dict[str, Any] = {"input_bn": "time", "input_frames": FRAMES}


def count(variant: VariantName, widths: tuple[int, ...] | None = None, **options: Any) -> int:
    with torch.device("meta"):
        network = KNet(50, variant=variant, widths=widths, **options)
    return sum(p.numel() for p in network.parameters())


def tiny(variant: VariantName = "k2c2", **options: Any) -> KNet:
    """Without dropout; pools of 6 bands (k2c2) and 8 frames."""
    small = {
        "k2c2": {"widths": (3, 4, 5), "pools": ((2, 2), (3, 2), (1, 2))},
        "k2c1": {"widths": (3, 4, 5), "pools": ((1, 2), (1, 2), (1, 2))},
        "k1c2": {"widths": (3, 4, 5), "pools": ((1, 2), (1, 2), (1, 2))},
    }
    quiet = {"dropout": 0.0, "head_dropout": 0.0}
    return KNet(3, variant=variant, **({"n_mels": 6} | quiet | small[variant] | options))


def test_released_k2c2_has_its_published_number_of_parameters() -> None:
    assert count("k2c2", **TIME) == 865_950


@pytest.mark.parametrize(
    ("widths", "with_norm", "without"),
    [
        ((20, 41, 41, 62, 83), 99_554, 96_822),
        ((33, 66, 66, 100, 133), 248_829, 246_097),
        ((47, 95, 95, 142, 190), 500_052, 497_320),
        ((67, 135, 135, 203, 271), 1_006_560, 1_003_828),
        ((118, 236, 236, 355, 473), 3_048_899, 3_046_167),
    ],
)
def test_parameters_of_k2c2_for_50_tags_equal_the_sheet(
    widths: tuple[int, ...], with_norm: int, without: int
) -> None:
    assert count("k2c2", widths, **TIME) == with_norm
    assert count("k2c2", widths, input_bn="none") == without
    assert count("k2c2", widths) == without + 2 * 96


@pytest.mark.parametrize(
    ("a", "b", "total"),
    [
        (43, 87, 100_245),
        (72, 145, 249_450),
        (106, 212, 507_024),
        (152, 304, 1_005_526),
        (265, 535, 2_986_347),
    ],
)
def test_parameters_of_k2c1_for_50_tags_equal_the_sheet(a: int, b: int, total: int) -> None:
    assert count("k2c1", (a, a, a, b, b), **TIME) == total


@pytest.mark.parametrize(
    ("a", "b", "total"),
    [(15, 30, 98_392), (23, 47, 235_475), (33, 66, 460_228), (47, 95, 947_363), (81, 163, 2_776_223)],
)
def test_parameters_of_k1c2_for_50_tags_equal_the_sheets_reading(a: int, b: int, total: int) -> None:
    assert count("k1c2", (a, a, b, b), **TIME) == total


@pytest.mark.parametrize(
    ("variant", "shapes"),
    [
        ("k2c2", [(48, 341), (24, 85), (12, 21), (4, 4), (1, 1)]),
        ("k2c1", [(1, 341), (1, 85), (1, 21), (1, 4), (1, 1)]),
        ("k1c2", [(96, 341), (96, 68), (96, 8), (96, 1)]),
    ],
)
def test_maps_of_the_papers_clip_equal_the_sheet(variant: VariantName, shapes: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        network, x = KNet(50, variant=variant).eval(), torch.zeros(1, 1, 96, FRAMES)
    found = []
    for block in network.blocks:
        x = block(x)
        found.append(tuple(x.shape[2:]))
    assert found == shapes


def test_k1c2_keeps_the_bands_apart_until_its_end() -> None:
    network = tiny("k1c2", input_bn="none").eval()
    x = torch.randn(1, 1, 6, 16)
    changed = x.clone()
    changed[:, :, 2] += 1.0
    difference = (network.blocks(changed) - network.blocks(x)).abs().amax((0, 1, 3))
    assert [band for band in range(6) if difference[band] > 0] == [2]


def test_k2c1_is_not_blind_to_the_order_of_bands() -> None:
    network, x = tiny("k2c1", input_bn="none").eval(), torch.randn(1, 1, 6, 16)
    assert network.blocks[0](x).shape == (1, 3, 1, 8)
    assert not torch.allclose(network(x), network(x.flip(2)), atol=1e-4)


def test_an_even_kernel_looks_one_frame_back_and_two_ahead() -> None:
    network = tiny("k1c2", input_bn="none")
    padding, convolution, *_ = network.blocks[0].children()
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    nn.init.ones_(convolution.weight)
    nn.init.zeros_(convolution.bias)
    impulse = torch.zeros(1, 1, 6, 9)
    impulse[..., 4] = 1.0
    assert convolution(padding(impulse))[0, 0, 0].tolist() == [0, 0, 1, 1, 1, 1, 0, 0, 0]


def test_what_is_left_of_time_is_averaged() -> None:
    network, x = tiny(input_bn="none").eval(), torch.randn(1, 1, 6, 16)
    maps = network.blocks(x)
    assert maps.shape[-1] == 2
    expected = network.classifier((maps[..., 0] + maps[..., 1]).flatten(1) / 2)
    torch.testing.assert_close(network(x), expected)


def test_bands_left_by_the_pools_join_the_channels() -> None:
    assert tiny(n_mels=24).classifier.in_features == 4 * 5


def test_hidden_layers_are_two_where_the_convolution_has_one_dimension() -> None:
    linear = {variant: sum(isinstance(m, nn.Linear) for m in tiny(variant).modules()) for variant in VARIANTS}
    assert linear == {"k2c2": 1, "k2c1": 3, "k1c2": 3}


def test_dropout_of_everything_leaves_only_the_bias() -> None:
    network = tiny("k2c1", head_dropout=1.0)
    answer = network(torch.randn(2, 1, 6, 16))
    assert torch.equal(answer, network.classifier.bias.expand(2, 3))


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (1, 1, 6, 7), "7 frames are too few; expected at least 8"),
        ({}, (1, 1, 5, 16), r"shape \(1, 1, 5, 16\); expected \(B, 1, 6, T\)"),
        ({}, (1, 6, 16), r"expected \(B, 1, 6, T\)"),
        ({"input_bn": "time", "input_frames": 16}, (1, 1, 6, 17), "built for 16"),
    ],
)
def test_unfit_input_is_refused(options: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)(torch.zeros(shape))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "k1c1"}, "no variant 'k1c1'; choose one of: k2c2, k2c1, k1c2"),
        ({"widths": (3, 4)}, "2 widths and 5 pools"),
        ({"n_mels": 95}, "leave no frequency band"),
        ({"input_bn": "mel"}, "choose frequency, time or none"),
        ({"input_bn": "time"}, "give the number of frames"),
        ({"input_frames": 3}, "None for the others"),
    ],
)
def test_unfit_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KNet(3, **options)
