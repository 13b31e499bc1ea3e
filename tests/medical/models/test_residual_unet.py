"""ResidualEncoderUNet against the counts of nnU-Net's worked plans."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tessera.core.backbone.macs import count_macs
from tessera.medical.models.residual_unet import ResidualEncoderUNet

from . import plans
from .checks import check_network, memory_proxy, parameter_count


@pytest.mark.parametrize(
    ("options", "channels", "classes", "parameters"),
    [
        (plans.BRATS, 1, 14, 102_359_430),
        (plans.BRATS, 4, 4, 102_353_972),
        (plans.isotropic(3, 5), 1, 2, 62_809_928),
        (plans.ABDOMEN, 1, 14, 101_867_334),
        (plans.ABDOMEN_L, 1, 14, 141_001_428),
        (plans.ABDOMEN_XL, 1, 14, 141_411_028),
        (plans.MR_2D, 1, 14, 105_934_932),
        (plans.CELL_2D, 3, 3, 140_019_637),
    ],
)
def test_parameters_equal_the_sheet(
    options: dict[str, Any], channels: int, classes: int, parameters: int
) -> None:
    assert parameter_count(ResidualEncoderUNet, channels, classes, **options) == parameters


@pytest.mark.parametrize(
    ("options", "channels", "classes", "patch", "values"),
    [
        (plans.LIVER, 1, 3, (128, 128, 128), 557_420_544),
        (plans.BRATS, 4, 4, (128, 128, 128), 559_517_696),
        (plans.BRATS, 4, 4, (160, 192, 160), 1_311_369_600),
        (plans.ABDOMEN, 1, 14, (40, 224, 192), 653_466_240),
        (plans.ABDOMEN_L, 1, 14, (56, 320, 256), 1_743_517_440),
        (plans.ABDOMEN_XL, 1, 14, (64, 384, 384), 3_583_300_608),
    ],
)
def test_maps_of_the_worked_plans_equal_the_sheet(
    options: dict[str, Any], channels: int, classes: int, patch: tuple[int, ...], values: int
) -> None:
    with torch.device("meta"):
        network = ResidualEncoderUNet(channels, classes, **options)
        assert memory_proxy(network, torch.empty(1, channels, *patch)) == values


@pytest.mark.parametrize(
    ("options", "classes", "patch", "giga"),
    [(plans.LIVER, 3, (128, 128, 128), 717.5), (plans.ABDOMEN, 14, (40, 224, 192), 857.9)],
)
def test_multiply_adds_equal_the_sheet(
    options: dict[str, Any], classes: int, patch: tuple[int, ...], giga: float
) -> None:
    with torch.device("meta"):
        network = ResidualEncoderUNet(1, classes, **options).eval()
        assert count_macs(network, torch.empty(1, 1, *patch)) / 1e9 == pytest.approx(giga, abs=0.05)


@pytest.mark.parametrize(("options", "size"), [(plans.TINY_3D, (6, 8, 12)), (plans.TINY_2D, (12, 6))])
def test_network_is_sound(options: dict[str, Any], size: tuple[int, ...]) -> None:
    check_network(ResidualEncoderUNet, size, options | {"blocks": (1, 2, 1)})


def test_blocks_of_the_presets_are_the_default() -> None:
    options = plans.isotropic(3, 6)
    named = parameter_count(ResidualEncoderUNet, 1, 2, **options, blocks=(1, 3, 4, 6, 6, 6))
    assert named == parameter_count(ResidualEncoderUNet, 1, 2, **options)


@pytest.mark.parametrize("changes", [{"blocks": (1, 2)}, {"decoder_convs": (1, 1, 1)}])
def test_depths_for_other_stages_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="one for each of"):
        ResidualEncoderUNet(1, 2, **plans.TINY_3D, **changes)
