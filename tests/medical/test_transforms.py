"""Random changes of volumes: what moves, what keeps its values, and which classes change places."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tessera.core.config import validate
from tessera.core.data.windows import MaskWindows
from tessera.core.inference.forward import ForwardPass
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.planning.filling import fill_names
from tessera.medical.transforms import AirwayTransforms, VolumeTransforms, resolved_augment
from tessera.medical.windows import VolumeWindows

DATA = {
    "axes": [2, 0, 1],  # superior, right, anterior
    "spacing_mm": [None, None, None],
    "patch": [8, 8, 8],
    "normalisation": [{"kind": "as-stored"}],
}
KIDNEYS = ("background", "left_kidney", "right_kidney")
VALUES = ["noise", "blur", "brightness", "contrast", "low_resolution", "gamma", "gamma_inverted"]
ODDS = ["rotation", "scaling", *VALUES]


def only(*chosen: str, **augment: Any) -> dict[str, Any]:
    """An augment section in which the chosen changes always happen and the others never; no mirrors."""
    odds = {f"{name}_probability": float(name in chosen) for name in ODDS}
    return {"mirror_axes": [], **odds, **augment}


def volumes(data: dict[str, Any] | None = None, **augment: Any) -> VolumeConfig:
    values = {"pipeline": "volumes", "preset": "smoke", "data": {**DATA, **(data or {})}, "augment": augment}
    return validate(VolumeConfig, values, source="test")


def airway(**augment: Any) -> AirwayConfig:
    values = {"pipeline": "airway", "preset": "smoke", "data": DATA, "augment": augment}
    return validate(AirwayConfig, values, source="test")


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def places(*size: int) -> Tensor:
    """Coordinates (3, *size) from -1 to 1."""
    return torch.stack(torch.meshgrid(*[torch.linspace(-1, 1, n) for n in size], indexing="ij"))


def scan_with_places(rows: int) -> Tensor:
    """(rows, 5, 8, 8, 8): a scan, a depth, and coordinates; the scan is a sum of these four."""
    extra = torch.cat([places(8, 8, 8).square().sum(0, keepdim=True), places(8, 8, 8)])
    scan = 8 * extra[0] + 4 * extra[1] + 2 * extra[2] + extra[3]
    return torch.cat([scan[None], extra]).repeat(rows, 1, 1, 1, 1)


# ---------------------------------------------------------------- depth and places beside a scan


@pytest.mark.parametrize("name", VALUES)
def test_densities_change_in_the_scan_alone(name: str) -> None:
    input, target = scan_with_places(4), torch.zeros(4, 8, 8, 8, dtype=torch.int64)
    narrow = {"blur_sigma": [0.9, 1.0], "low_resolution": [0.5, 0.6], "noise_variance": [0.05, 0.1]}
    changed, masks = AirwayTransforms(airway(**only(name, **narrow))).on_input(input, target, generator())
    rows = (changed[:, 0] - input[:, 0]).abs().amax(dim=(1, 2, 3)) > 1e-4
    assert rows.any(), f"{name} changed nothing"
    assert torch.equal(changed[:, 1:], input[:, 1:])
    assert torch.equal(masks, target)


def test_all_changes_of_densities_are_tried() -> None:
    assert len(AirwayTransforms(airway()).values) == len(VALUES)


def test_places_and_depth_move_with_the_scan() -> None:
    """Interpolation and mirrors are linear, so the scan stays the sum that it was."""
    section = {**only("rotation", "scaling"), "mirror_axes": [0, 1, 2]}
    input = scan_with_places(8)
    target = (input[:, 0] > 0).long()
    changed, _ = AirwayTransforms(airway(**section)).on_input(input, target, generator())
    assert (changed[:, 1:] - input[:, 1:]).abs().amax(dim=(1, 2, 3, 4)).min() > 0.1
    _, depth, *place = changed.unbind(1)
    expected = 8 * depth + 4 * place[0] + 2 * place[1] + place[2]
    torch.testing.assert_close(changed[:, 0], expected, rtol=1e-4, atol=1e-4)


def test_mirrored_coordinates_run_the_other_way() -> None:
    input = scan_with_places(32)
    target = (input[:, 0] > 0).long()
    transforms = AirwayTransforms(airway(**{**only(), "mirror_axes": [0, 2]}))
    changed, masks = transforms.on_input(input, target, generator())
    rises = torch.stack([changed[:, 2 + axis].select(1 + axis, 7)[:, 0, 0] for axis in range(3)], dim=1)
    assert set(map(tuple, rises.tolist())) == {(a, 1.0, c) for a in (-1.0, 1.0) for c in (-1.0, 1.0)}
    assert torch.equal(masks, (changed[:, 0] > 0).long())


# ---------------------------------------------------------------- left and right


def two_kidneys(rows: int) -> tuple[Tensor, Tensor]:
    """Images (rows, 1, 8, 8, 8) and masks, superior, right, anterior; the left kidney is twice the right."""
    mask = torch.zeros(rows, 8, 8, 8, dtype=torch.int64)
    mask[:, 2:6, 1:3, 3:5] = 1
    mask[:, 3:5, 5:7, 3:5] = 2
    return (mask > 0).float()[:, None], mask


def test_mirrored_kidneys_change_their_names() -> None:
    config = fill_names(volumes(**{**only(), "mirror_axes": None}), KIDNEYS)
    image, mask = two_kidneys(64)
    changed, masks = VolumeTransforms(config).on_input(image, mask, generator())
    assert not (masks[:, :, :4] == 2).any(), "a right kidney on the left side"
    assert not (masks[:, :, 4:] == 1).any(), "a left kidney on the right side"
    assert torch.equal((masks > 0).float()[:, None], changed)
    left = (masks == 1).sum(dim=(1, 2, 3))
    assert set(left.tolist()) == {16, 8}, "mirrored, the small kidney is the left one"
    assert 20 <= int((left == 8).sum()) <= 44


def test_slices_are_mirrored_in_their_own_plane() -> None:
    """Sagittal slices show one side of the body; axial ones are mirrored along their first axis."""
    flat: dict[str, Any] = {"spatial_dims": 2, "patch": [1, 8, 8]}
    rotation: dict[str, Any] = {**only(), "mirror_axes": None, "rotation_deg": [0.0]}
    axial = fill_names(volumes(flat, **rotation), KIDNEYS)
    found = resolved_augment(axial.augment, axial.data)
    assert (found.mirror_axes, found.swap_axis, found.swap_classes) == ((0, 1), 0, ((1, 2),))
    mask = two_kidneys(32)[1][:, 4]
    _, masks = VolumeTransforms(axial).on_input(mask[:, None].float(), mask, generator())
    assert not (masks[:, :4] == 2).any() and not (masks[:, 4:] == 1).any()
    sagittal = fill_names(volumes({**flat, "axes": [0, 2, 1]}, **rotation), KIDNEYS)
    found = resolved_augment(sagittal.augment, sagittal.data)
    assert (found.mirror_axes, found.swap_axis, found.swap_classes) == ((0, 1), None, ())
    assert VolumeWindows(sagittal).mirror_swaps == {}


def test_a_side_without_a_partner_is_never_mirrored() -> None:
    config = fill_names(volumes(**{**only(), "mirror_axes": None}), ("background", "left_kidney"))
    mask = (two_kidneys(64)[1] == 1).long().roll(1, dims=1)
    _, masks = VolumeTransforms(config).on_input(mask[:, None].float(), mask, generator())
    assert not masks[:, :, 4:].any()
    assert (masks != mask).any(), "the other axes are mirrored"


def test_what_a_person_set_stays() -> None:
    section = {**only(), "mirror_axes": [1], "swap_axis": 1, "swap_classes": [[1, 3]]}
    config = fill_names(volumes(**section), KIDNEYS)
    assert resolved_augment(config.augment, config.data) == config.augment


def test_a_mirrored_prediction_names_the_sides_as_training_did() -> None:
    """A network that knows sides by their place alone answers the same with the mirror image and without."""
    windows = VolumeWindows(fill_names(volumes(), KIDNEYS))
    assert isinstance(windows, MaskWindows)
    assert windows.mirror_swaps == {1: ((1, 2),)}

    class ByPlace(nn.Module):
        """Left below the middle of axis 1, right above it."""

        def forward(self, input: Tensor) -> Tensor:
            side = torch.linspace(-1, 1, 8)[None, None, None, :, None].expand_as(input)
            return torch.cat([1 - input, -side * input, side * input], dim=1)

    image, mask = two_kidneys(1)
    for names in ((), ("flip-1",), ("flip-0", "flip-1", "flip-0-1-2")):
        forward = ForwardPass(
            [ByPlace()], task="mask", batch_size=1, tta=names, mirror_swaps=windows.mirror_swaps
        )
        assert torch.equal(torch.as_tensor(forward(list(image))).argmax(1), mask)


# ---------------------------------------------------------------- thick slices


@pytest.mark.parametrize(
    ("patch", "thick"), [([2, 12, 8], True), ([4, 12, 12], False), ([12, 12, 12], False)]
)
def test_thick_slices_are_turned_in_their_own_plane(patch: list[int], thick: bool) -> None:
    config = volumes({"patch": patch}, **only("rotation", rotation_deg=[30.0, 20.0, 10.0]))
    expected = (30.0, 0.0, 0.0) if thick else (30.0, 20.0, 10.0)
    assert resolved_augment(config.augment, config.data).rotation_deg == expected


def test_a_turned_thick_slice_holds_its_own_values_only() -> None:
    input = torch.arange(1.0, 4.0)[None, None, :, None, None].expand(8, 1, 3, 12, 12).contiguous()
    target = torch.zeros(8, 3, 12, 12, dtype=torch.int64)
    turned: dict[str, Tensor] = {}
    for name, patch in (("thick", [3, 12, 12]), ("thin", [12, 12, 12])):
        config = volumes({"patch": patch}, **only("rotation"))
        turned[name] = VolumeTransforms(config).on_input(input, target, generator())[0][..., 4:8, 4:8]
    torch.testing.assert_close(turned["thick"], input[..., 4:8, 4:8])
    assert (turned["thin"] - input[..., 4:8, 4:8]).abs().max() > 0.1
