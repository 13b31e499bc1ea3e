"""The table of reference networks: every name has the parameter count of its sheet."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tessera.core.backbone.last_map import GivesMaps
from tessera.core.backbone.reference import REFERENCES, build_reference, reference_options

CIFAR_100: dict[str, Any] = {"num_classes": 100}
DIGITS: dict[str, Any] = {"in_channels": 1, "num_classes": 10}
SPEECH: dict[str, Any] = {"spatial_dims": 1, "in_channels": 80, "num_classes": 192}

# images of three channels and 1000 classes, where nothing else is said
COUNTS: list[tuple[str, int, dict[str, Any]]] = [
    ("resnet-18", 11_689_512, {}),
    ("resnet-34", 21_797_672, {}),
    ("resnet-50", 25_557_032, {}),
    ("resnext-50-32x4d", 25_028_904, {}),
    ("se-resnet-50", 28_088_024, {}),
    ("se-resnet-50", 20_535_128, {"spatial_dims": 1}),
    ("se-resnet-50", 50_778_968, {"spatial_dims": 3}),
    ("se-resnet-101", 49_326_872, {}),
    ("se-resnet-152", 66_821_848, {}),
    ("se-resnext-50-32x4d", 27_559_896, {}),
    ("se-resnext-50-32x4d", 26_608_728, {"spatial_dims": 1}),
    ("se-resnext-50-32x4d", 30_445_656, {"spatial_dims": 3}),
    ("senetv2-50", 30_586_920, {}),
    ("eca-resnet-18", 11_689_556, {}),
    ("eca-resnet-34", 21_797_744, {}),
    ("eca-resnet-50", 25_557_112, {}),
    ("eca-resnet-50-adaptive", 25_557_118, {}),
    ("eca-resnet-101", 44_549_317, {}),
    ("eca-resnet-152", 60_193_042, {}),
    ("ge-resnet-50-minus", 25_557_032, {}),
    ("ge-resnet-50", 31_106_600, {}),
    ("ge-resnet-50-plus", 33_637_592, {}),
    ("resnet-50-ibn-a", 25_557_032, {}),
    ("resnet-50-ibn-b", 25_558_568, {}),
    ("resnet-18-ibn-b", 11_689_896, {}),
    ("sknet-50", 27_479_784, {}),
    ("sknet-101", 48_686_760, {}),
    ("sknet-101", 48_736_040, {"mixer": "sk"}),
    ("res2net-50-48w2s", 25_287_304, {}),
    ("res2net-50-26w4s", 25_699_120, {}),
    ("res2net-50-14w8s", 25_059_816, {}),
    ("res2net-50-26w6s", 37_051_448, {}),
    ("res2net-50-26w8s", 48_403_776, {}),
    ("res2net-101-26w4s", 45_206_688, {}),
    ("res2next-50", 24_671_464, {}),
    ("ghostnet-0.5", 2_587_292, {}),
    ("ghostnet-1.0", 5_182_508, {}),
    ("ghostnet-1.3", 7_358_820, {}),
    ("mobilenet-v3-large", 5_483_032, {}),
    ("skipblocknet-m", 5_532_352, {}),
    ("replknet-31b", 79_864_168, {}),
    ("replknet-31b-merged", 79_527_272, {}),
    ("replknet-31l", 172_671_016, {}),
    ("replknet-31l-merged", 172_165_672, {}),
    ("replknet-xl", 335_435_752, {}),
    ("replknet-xl-merged", 335_399_656, {}),
    ("shiftwise-t", 31_790_260, {}),
    ("shiftwise-t-merged", 31_002_670, {}),
    ("mixer-s32", 19_104_624, {}),
    ("mixer-s16", 18_528_264, {}),
    ("mixer-b32", 60_293_428, {}),
    ("mixer-b16", 59_880_472, {}),
    ("mixer-l32", 206_939_264, {}),
    ("mixer-l16", 208_196_168, {}),
    ("mixer-h14", 432_350_952, {}),
    ("vmamba-t", 30_249_064, {}),
    ("vmamba-t-s2l5", 30_705_832, {}),
    ("vmamba-s", 50_147_752, {}),
    ("vmamba-s-s1l20", 49_012_840, {}),
    ("vmamba-b", 88_557_800, {}),
    ("vmamba-b-s1l20", 86_614_504, {}),
    ("mobilevit-xxs", 1_272_024, {}),
    ("mobilevit-xs", 2_317_848, {}),
    ("mobilevit-s", 5_578_632, {}),
    ("dhvt-t", 6_267_334, {}),
    ("dhvt-t-patch4", 6_008_650, CIFAR_100),
    ("dhvt-t-patch2", 5_845_162, CIFAR_100),
    ("dhvt-s", 24_040_606, {}),
    ("dhvt-s-patch4", 23_425_450, CIFAR_100),
    ("dhvt-s-patch2", 22_766_698, CIFAR_100),
    ("all-cnn-c", 1_369_738, {"num_classes": 10}),
    ("all-cnn-c", 1_387_108, CIFAR_100),
    ("efficient-tdnn", 5_789_760, SPEECH),
    ("kanc-mlp-small", 3_960, DIGITS | {"intervals": 5}),
    ("kanc-mlp-small", 5_310, DIGITS),
    ("kanc-mlp-small", 8_010, DIGITS | {"intervals": 20}),
    ("kanc-mlp-medium", 7_460, DIGITS | {"intervals": 5}),
    ("kanc-mlp-medium", 9_935, DIGITS),
    ("kanc-mlp-medium", 14_885, DIGITS | {"intervals": 20}),
    ("kkan-small", 15_200, DIGITS | {"intervals": 5}),
    ("kkan-small", 22_800, DIGITS),
    ("kkan-small", 38_000, DIGITS | {"intervals": 20}),
    ("kkan-medium", 29_950, DIGITS | {"intervals": 5}),
    ("kkan-medium", 44_925, DIGITS),
    ("kkan-medium", 74_875, DIGITS | {"intervals": 20}),
]


def build(name: str, **options: Any) -> nn.Module:
    with torch.device("meta"):
        return build_reference(name, **options)


@pytest.mark.parametrize(("name", "count", "options"), COUNTS, ids=[f"{c[0]} {c[1]}" for c in COUNTS])
def test_network_has_the_exact_count_of_its_sheet(name: str, count: int, options: dict[str, Any]) -> None:
    assert sum(p.numel() for p in build(name, **options).parameters()) == count


def test_every_name_has_a_count() -> None:
    assert {name for name, _, _ in COUNTS} == set(REFERENCES)


@pytest.mark.parametrize(
    ("name", "options", "shape"),
    [
        ("eca-resnet-18", {"drop_path": 0.1}, (2, 3, 33, 41)),
        ("ghostnet-0.5", {}, (2, 3, 33, 41)),
        ("all-cnn-c", {}, (2, 3, 17, 18)),
        ("mobilevit-xxs", {"spatial_dims": 1}, (2, 3, 70)),
        ("skipblocknet-m", {"spatial_dims": 1}, (2, 3, 70)),
        ("replknet-31b", {"widths": (8, 12), "depths": (1, 1), "kernels": (7, 7)}, (2, 3, 33, 41)),
        ("shiftwise-t", {"widths": (8, 12), "depths": (1, 1), "lengths": (9, 7)}, (2, 3, 33, 41)),
    ],
)
def test_network_gives_its_last_map_beside_the_logits(
    name: str, options: dict[str, Any], shape: tuple[int, ...]
) -> None:
    network, x = build_reference(name, num_classes=5, **options).eval(), torch.randn(shape)
    assert isinstance(network, GivesMaps)
    maps, logits = network.maps_and_logits(x)
    assert torch.equal(logits, network(x))
    assert maps[-1].ndim == len(shape)
    (gradient,) = torch.autograd.grad(logits.sum(), maps[-1:])
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "mobilvit-s",
            r"no network 'mobilvit-s'; did you mean mobilevit-s\? choose one of: resnet-18, .*kkan",
        ),
        ("u-net-of-mars", "no network 'u-net-of-mars'; choose one of: resnet-18"),
    ],
)
def test_unknown_name_is_told_with_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_reference(name)


def test_unknown_option_is_told_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"ghostnet-1\.0 has no option 'size'; its options: width, dropout"):
        build("ghostnet-1.0", size=3)
    assert "input_size" in reference_options("mixer-b16")


@pytest.mark.parametrize(("name", "dims"), [("efficient-tdnn", 2), ("resnet-18", 4)])
def test_dimension_that_a_network_cannot_serve_is_refused(name: str, dims: Any) -> None:
    with pytest.raises(ValueError, match=f"{name} cannot serve spatial_dims={dims}"):
        build(name, spatial_dims=dims)


def test_network_for_one_size_can_be_built_for_another() -> None:
    network = build("mixer-s32", input_size=(64, 96))
    with torch.device("meta"):
        assert network(torch.empty(1, 3, 64, 96)).shape == (1, 1000)
