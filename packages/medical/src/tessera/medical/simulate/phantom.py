"""One phantom: a tree, a chest around it, a scan of both, and the truth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from tessera.medical.simulate.airway_config import AirwayConfig
from tessera.medical.simulate.airway_volume import (
    AirwayLabel,
    airway_label,
    airway_parts,
    in_view,
    wall_mm,
)
from tessera.medical.simulate.growth import grow_tree
from tessera.medical.simulate.pathology import Disease, with_findings
from tessera.medical.simulate.scanner import blurred, noise, stored, twice_seen, with_airways
from tessera.medical.simulate.tables import symmetric_tree
from tessera.medical.simulate.thorax import Thorax
from tessera.medical.simulate.tissue import Chest
from tessera.medical.simulate.tree import Tree
from tessera.medical.simulate.tubes import Array, Grid, Tube, coverage, union_distance
from tessera.medical.simulate.vessels import (
    VEIN_ROOTS,
    accompanying_arteries,
    places_in_lungs,
    vessel_tree,
)

CENTRE_MM = (0.0, 6.0, -18.0)
"""Middle of the field of view from the carina, RAS."""
THICKEST_RATIO = 2.5
"""Slices more than this many pixels thick are made of thinner ones."""


@dataclass(frozen=True)
class Person:
    """What is drawn before there is a grid, so that it is the same for every grid."""

    thorax: Thorax
    disease: Disease
    wall_scale: float
    walls_mm: tuple[float, ...]
    arteries: tuple[Tube, ...]
    veins: tuple[Tube, ...]
    shift_mm: npt.NDArray[np.float64]

    @property
    def tree(self) -> Tree:
        """The airways with their findings."""
        return self.disease.tree


@dataclass(frozen=True)
class Phantom:
    """A scan with its truth.

    Args:
        image: HU (I, J, K), axes right, anterior, superior.
        label: The lumen and its branches.
        grid: Of all arrays.
        person: What was drawn.
        scan: Noise and blur that were drawn.
        masks: More masks by name, when asked for.
    """

    image: npt.NDArray[np.int16]
    label: AirwayLabel
    grid: Grid
    person: Person
    scan: Mapping[str, float]
    masks: Mapping[str, npt.NDArray[Any]] = field(default_factory=dict)


def draw_person(sequence: np.random.SeedSequence, config: AirwayConfig) -> Person:
    """Chest, tree, findings and vessels; shape and spacing play no part."""
    body, airways, findings, blood = (np.random.default_rng(child) for child in _children(sequence, 4))
    thorax = Thorax(scale=body.uniform(*config.body_scale), fat_mm=body.uniform(6.0, 14.0))
    wall_scale = body.uniform(*config.wall_scale)
    shift = body.uniform(-1.0, 1.0, 3) * config.shift_mm
    tree = _tree(airways, config, thorax)
    disease = with_findings(findings, tree, config.pathology, wall_scale=wall_scale)
    walls = tuple(wall_mm(branch.diameter_mm, scale=wall_scale) for branch in disease.tree)
    arteries = accompanying_arteries(blood, disease.tree, walls_mm=walls, ratio=config.artery_ratio)
    veins: list[Tube] = []
    if config.vessels:
        ends = np.array([tube.points_mm[-1] for tube in arteries])
        if len(ends):
            places = places_in_lungs(blood, thorax, count=config.vessels)
            arteries += vessel_tree(ends, places)
        places = places_in_lungs(blood, thorax, count=config.vessels)
        veins = vessel_tree(thorax.scale * np.array(VEIN_ROOTS), places)
    return Person(thorax, disease, wall_scale, walls, tuple(arteries), tuple(veins), shift)


def _children(sequence: np.random.SeedSequence, count: int) -> list[np.random.SeedSequence]:
    """Independent sequences; unlike those of ``spawn`` the same at every call."""
    return [
        np.random.SeedSequence(sequence.entropy, spawn_key=(*sequence.spawn_key, place))
        for place in range(count)
    ]


def _tree(rng: np.random.Generator, config: AirwayConfig, thorax: Thorax) -> Tree:
    if config.tree != "anatomical":
        return symmetric_tree(config.tree, generations=config.generations)
    return grow_tree(
        rng, thorax=thorax, beyond_segments=config.generations, min_diameter_mm=config.min_diameter_mm
    )


def simulate_phantom(sequence: np.random.SeedSequence, config: AirwayConfig) -> Phantom:
    """Draw a person and scan it; the same sequence and config give the same voxels."""
    drawn, scanned = _children(sequence, 2)
    person = draw_person(drawn, config)
    rng = np.random.default_rng(scanned)
    fine, factor = fine_grid(config, person)
    grid = fine.thinned(factor)
    width, sd = rng.uniform(*config.psf_fwhm_mm), rng.uniform(*config.noise_hu)
    thickness = config.slice_thickness_mm or config.spacing_mm[2]
    image, masks = _densities(rng, person, config, fine)
    if config.pathology.motion_mm > 0:
        image = twice_seen(image, shift_voxels=config.pathology.motion_mm / fine.spacing_mm[1])
    fwhm = (width, width, thickness)
    image = blurred(image, spacing_mm=fine.spacing_mm, fwhm_mm=fwhm)[:, :, factor // 2 :: factor]
    image = image + noise(rng, grid.shape, sd=sd, spacing_mm=grid.spacing_mm, fwhm_mm=fwhm)
    label = airway_label(grid, person.tree, min_diameter_mm=config.label_min_diameter_mm)
    masks = {name: mask[:, :, factor // 2 :: factor] for name, mask in masks.items()}
    scan = {"noise_hu": sd, "psf_fwhm_mm": width, "slice_thickness_mm": thickness}
    return Phantom(stored(image), label, grid, person, scan, masks)


def fine_grid(config: AirwayConfig, person: Person) -> tuple[Grid, int]:
    """The grid on which densities are drawn, and how many of its slices make one of the image's."""
    x, y, z = config.spacing_mm
    factor = 1
    while z / factor > THICKEST_RATIO * min(x, y):
        factor += 2
    i, j, k = config.shape
    centre = np.array(CENTRE_MM) + person.shift_mm
    return Grid.around(centre, shape=(i, j, k * factor), spacing_mm=(x, y, z / factor)), factor


def _densities(
    rng: np.random.Generator, person: Person, config: AirwayConfig, grid: Grid
) -> tuple[Array, dict[str, npt.NDArray[Any]]]:
    """True HU (I, J, K), and masks when the config asks for them."""
    h, values = grid.voxel_mm, config.densities
    chest = Chest(grid, person.thorax)
    lungs = chest.lungs()
    image = chest.density(rng, values, lungs=lungs, emphysema=person.disease.emphysema)
    chest.add_bones(image, values)
    chest.add_tubes(image, [*person.thorax.great_vessels(), *person.veins], value=values.blood)
    arteries = chest.add_tubes(image, person.arteries, value=values.blood)
    if person.disease.nodules:
        chest.add_tubes(image, person.disease.nodules, value=values.nodule)
    parts = airway_parts(grid, person.tree, walls_mm=person.walls_mm)
    air: Array | float = values.air
    if person.disease.plugs:
        plugs = coverage(union_distance(grid, person.disease.plugs, reach_mm=h), voxel_mm=h)
        air = np.float32(values.air) + plugs * np.float32(values.mucus - values.air)
    with_airways(image, parts, air=air, wall=values.wall)
    if not config.extras:
        return image, {}
    lumen = parts.lumen >= 0.5
    masks = {
        "lungs": (lungs <= 0).astype(np.uint8),
        "wall": ((parts.outer >= 0.5) & ~lumen).astype(np.uint8),
        "arteries": ((arteries <= 0) & (parts.outer < 0.5)).astype(np.uint8),
    }
    return image, masks


def truth_of(phantom: Phantom, *, case: str, seed: int, config: AirwayConfig) -> dict[str, Any]:
    """Everything known of a phantom as plain values; lengths in mm, RAS."""
    tree, grid = phantom.person.tree, phantom.grid
    return {
        "case": case,
        "seed": seed,
        "simulated": True,
        "space": "RAS, mm",
        "label": "voxels whose centre lies in the lumen; mucus plugs belong to the lumen",
        "n_branches": len(tree),
        "n_branches_in_view": len(in_view(grid, tree)),
        "n_subvoxel_branches": len(phantom.label.widened),
        "n_unlabelled_branches": len(phantom.label.left_out),
        "length_mm": round(tree.length_mm, 4),
        "volume_mm3": round(tree.volume_mm3, 4),
        "label_voxels": int(phantom.label.lumen.sum()),
        "scan": {name: round(value, 4) for name, value in phantom.scan.items()},
        "body_scale": round(phantom.person.thorax.scale, 6),
        "wall_scale": round(phantom.person.wall_scale, 6),
        "subvoxel_branches": list(phantom.label.widened),
        "unlabelled_branches": list(phantom.label.left_out),
        "branches_in_view": list(in_view(grid, tree)),
        "findings": [finding.as_json() for finding in phantom.person.disease.findings],
        "branches": [
            row | {"wall_mm": round(wall, 4)}
            for row, wall in zip(tree.as_json(), phantom.person.walls_mm, strict=True)
        ],
        "config": config.model_dump(mode="json"),
    }
