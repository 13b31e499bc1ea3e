"""Spacing, axes, normalisation and the whole plan against the published rules and worked examples."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.core.errors import ConfigError
from tessera.medical.planning.data_config import (
    AsStoredConfig,
    BytesConfig,
    CTConfig,
    RescaleConfig,
    VolumeDataConfig,
    ZScoreConfig,
)
from tessera.medical.planning.fingerprint import CaseFacts, ChannelFacts, ClassFacts, Fingerprint
from tessera.medical.planning.low_resolution import plan_low_resolution
from tessera.medical.planning.plan import VolumePlan, make_plan, target_spacing
from tessera.medical.planning.topology import PRESETS, memory_elements, topology_of

HOUNSFIELD = ChannelFacts(80.0, 40.0, 85.0, -1000.0, 3000.0, -900.0, 250.0)


def fingerprint(
    spacing: tuple[float, ...],
    shape: tuple[int, ...],
    *,
    cases: int = 3,
    classes: int = 3,
    channels: int = 1,
    least: float = -1000.0,
    relative_size: float = 1.0,
    voxels: int = 10**6,
) -> Fingerprint:
    """Cases all alike, spacing and shape in RAS order."""
    facts = tuple(ClassFacts(voxels, 1, voxels * 1.0) for _ in range(classes - 1))
    one = (shape, spacing, relative_size, (least,) * channels, (3000.0,) * channels, facts)
    return Fingerprint(
        ("background", *(f"organ{place}" for place in range(1, classes))),
        (HOUNSFIELD,) * channels,
        tuple(CaseFacts(f"case_{number}", *one) for number in range(cases)),
    )


def plan(found: Fingerprint, **wishes: Any) -> VolumePlan:
    return make_plan(found, VolumeDataConfig(**wishes))


def test_the_whole_plan_of_an_abdomen() -> None:
    """The worked example; slices are stacked upwards, so that the axis S comes first."""
    found = plan(fingerprint((0.8, 0.8, 2.5), (512, 512, 97), cases=50, classes=14))
    assert found.axes == (2, 0, 1)
    assert found.spacing_mm == (2.5, 0.8, 0.8)
    assert found.shape == (97, 512, 512)
    assert (found.patch, found.batch, found.elements) == ((40, 224, 192), 2, 481_447_680)
    assert found.network.features == (32, 64, 128, 256, 320, 320)
    assert found.spatial_dims == 3
    assert found.training_gb == pytest.approx(8 * 481_447_680 / 560e6)


def test_the_whole_plan_of_slices() -> None:
    found = plan(
        fingerprint((1.2, 1.2, 3.0), (260, 320, 72), cases=60, classes=14), spatial_dims=2, channels=("mr",)
    )
    assert (found.patch, found.batch, found.elements) == ((1, 320, 320), 30, 33_459_200)
    assert found.spacing_mm == (None, 1.2, 1.2)
    assert found.spatial_dims == 2
    assert found.low_resolution is None
    assert found.mirrors == (1, 2)


def test_residual_planner_and_rule_are_options() -> None:
    abdomen = fingerprint((0.8, 0.8, 2.5), (512, 512, 97), cases=50, classes=14)
    assert plan(abdomen, planner="resenc-l").patch == (56, 320, 256)
    endovis = fingerprint((1, 1, 1), (1080, 1920, 1), cases=1800, classes=8, channels=3)
    flat = {"spatial_dims": 2, "axes": (2, 0, 1), "channels": ("rgb_to_0_1",) * 3}
    old, new = plan(endovis, shrink_rule="old", **flat), plan(endovis, **flat)
    assert (old.patch, old.batch) == ((1, 384, 640), 13)
    assert (new.patch, new.batch) == ((1, 896, 1536), 2)


def test_less_memory_gives_a_smaller_patch() -> None:
    abdomen = fingerprint((0.8, 0.8, 2.5), (512, 512, 97), classes=14)
    half = plan(abdomen, memory_gb=4.0)
    assert half.elements <= 280e6 < plan(abdomen).elements
    assert half.training_gb <= 4.0


def test_what_is_set_is_kept_and_the_rest_follows() -> None:
    abdomen = fingerprint((0.8, 0.8, 2.5), (512, 512, 97), classes=14)
    found = plan(abdomen, axes=(0, 1, 2), spacing_mm=(1.6, None, 2.5), patch=(64, 64, 32))
    assert found.axes == (0, 1, 2)
    assert found.spacing_mm == (1.6, None, 2.5)
    assert found.shape == (256, 512, 97)
    assert found.patch == (64, 64, 32)
    expected = topology_of((1.6, 0.8, 2.5), (64, 64, 32))
    assert found.network == expected
    assert found.elements == memory_elements(expected, classes=14)


@pytest.mark.parametrize(
    ("spacings", "shape", "expected"),
    [
        ([(1, 1, 1), (2, 1, 1), (3, 1, 1)], (50, 50, 50), (2, 1, 1)),
        # thick slices: the 10th percentile of 5, 5, 6, 7, 8 is 5
        ([(5, 1, 1), (5, 1, 1), (6, 1, 1), (7, 1, 1), (8, 1, 1)], (20, 200, 200), (5, 1, 1)),
        # the same slices, but many of them: the median
        ([(5, 1, 1), (5, 1, 1), (6, 1, 1), (7, 1, 1), (8, 1, 1)], (80, 200, 200), (6, 1, 1)),
        # the thin ones are thinner than a pixel: just above the pixels
        ([(0.2, 1, 1), (0.2, 1, 1), (6, 1, 1), (7, 1, 1), (8, 1, 1)], (20, 200, 200), (1.00001, 1, 1)),
    ],
)
def test_target_spacing(
    spacings: list[tuple[float, ...]], shape: tuple[int, ...], expected: tuple[float, ...]
) -> None:
    assert target_spacing(spacings, [shape] * len(spacings)) == pytest.approx(expected)


def test_ct_is_known_by_its_air() -> None:
    found = plan(fingerprint((1, 1, 1), (40, 40, 40)))
    assert found.channels == ("ct",)
    assert found.normalisation == (CTConfig(low=-900, high=250, mean=80, std=40),)
    other = plan(fingerprint((1, 1, 1), (40, 40, 40), least=0.0))
    assert other.channels == ("mr",)
    assert other.normalisation == (ZScoreConfig(masked=False),)


def test_names_of_channels_choose_their_normalisation() -> None:
    names = ("CT", "noNorm", "rescale_to_0_1", "rgb_to_0_1", "t2")
    found = plan(fingerprint((1, 1, 1), (40, 40, 40), channels=5, relative_size=0.7), channels=names)
    kinds = [type(scheme) for scheme in found.normalisation]
    assert kinds == [CTConfig, AsStoredConfig, RescaleConfig, BytesConfig, ZScoreConfig]
    assert found.normalisation[4] == ZScoreConfig(masked=True)


def test_the_mask_counts_below_three_quarters() -> None:
    quarter = fingerprint((1, 1, 1), (40, 40, 40), least=0.0, relative_size=0.75)
    assert plan(quarter).normalisation == (ZScoreConfig(masked=False),)


def test_a_wrong_number_of_channels_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"data\.channels does not fit(?s:.*)expected: 1"):
        plan(fingerprint((1, 1, 1), (40, 40, 40)), channels=("ct", "pet"))


def test_single_slices_are_no_volumes() -> None:
    with pytest.raises(ConfigError, match=r"--set data\.spatial_dims=2"):
        plan(fingerprint((1, 1, 5), (64, 64, 1)))


def test_no_cascade_where_a_patch_shows_a_quarter() -> None:
    assert plan(fingerprint((1, 1, 1), (138, 169, 138))).low_resolution is None


def test_a_cascade_for_a_large_image() -> None:
    found = plan(fingerprint((0.767, 0.767, 1.0), (512, 512, 482), cases=131))
    low = found.low_resolution
    assert low is not None
    shown = [a / b for a, b in zip(low.patch, low.shape, strict=True)]
    assert shown[0] * shown[1] * shown[2] >= 0.24
    extents = [n * step for n, step in zip(low.shape, low.spacing_mm, strict=True)]
    assert extents == pytest.approx([482, 512 * 0.767, 512 * 0.767], rel=0.01)
    assert any("cascade" in text for text in found.warnings)


def test_coarsening_begins_with_the_fine_axes() -> None:
    """One step above the factor of two, the thick axis stays; the fine ones are scaled alone."""
    shape = (100, 400, 400)
    low = plan_low_resolution(
        (4.0, 1.0, 1.0), shape, (48, 160, 160), classes=2, preset=PRESETS["default"], limit=560e6
    )
    assert low is not None
    assert low.spacing_mm[0] == 4.0
    assert 1.0 < low.spacing_mm[1] <= 2.0 * 1.03
    powers = [1.03**n for n in range(1, 30)]
    assert min(abs(low.spacing_mm[1] - power) for power in powers) < 1e-9


def test_classes_in_danger_are_named() -> None:
    tiny = fingerprint((1, 1, 3), (100, 100, 100), voxels=2)
    assert any("organ1" in text and "smaller than a planned voxel" in text for text in plan(tiny).warnings)
    assert any("fills" in text for text in plan(tiny).warnings)
    empty = fingerprint((1, 1, 3), (100, 100, 100), voxels=0)
    assert any("No training case shows the class organ2" in text for text in plan(empty).warnings)


def test_sides_are_found_and_wishes_kept() -> None:
    found = fingerprint((1, 1, 1), (40, 40, 40), classes=3)
    named = Fingerprint(("background", "kidney_left", "kidney_right"), found.channels, found.cases)
    assert plan(named).sides == ((1, 2),)
    assert plan(named).mirrors == (0, 1, 2)
    assert plan(named, mirrors=()).mirrors == ()
    for mirrors, told in (((), "not mirrored, as"), ((0, 2), "mirrored along R, S, as")):
        (why,) = (reason for reason in plan(named, mirrors=mirrors).reasons if "mirrored" in reason)
        assert f"{told} data.mirrors says" in why
    assert plan(named, sides=()).sides == ()
