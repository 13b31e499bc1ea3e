"""The measures of one predicted mask, as a row of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.ndimage import find_objects

from tessera.core.errors import ConfigError
from tessera.medical.airway_mask import keep_largest_airway
from tessera.medical.airway_tree import parse_airway, reference_airway
from tessera.medical.geometry import VolumeGeometry
from tessera.medical.mask_components import Box, Connectivity, Labels, joined, largest_component
from tessera.medical.metrics.airway import count_airway, leakage, length_found_mm
from tessera.medical.metrics.overlap import count_overlap
from tessera.medical.metrics.surface import surface_distances


class SegmentationScores:
    """Dice, surface Dice and HD95 of every class but the first, which is the background.

    A class in neither mask is NaN in all three; a class in one of them only has Dice and surface Dice 0, and
    no HD95 (NaN).

    Args:
        classes: Names in the order of the labels, the background first.
        tolerance_mm: How far a surface may lie off and still count for the surface Dice.
    """

    def __init__(self, classes: Sequence[str], *, tolerance_mm: float = 1.0) -> None:
        if len(classes) < 2 or len(set(classes)) < len(classes):
            raise ConfigError(
                "the classes of a mask are not usable",
                found=list(classes),
                expected="the background and at least one more, each name once",
            )
        self.classes = tuple(classes)
        self.tolerance_mm = tolerance_mm

    def case(self, predicted: Labels, reference: Labels, geometry: VolumeGeometry) -> dict[str, float]:
        """Score two label masks (I, J, K) on one grid: ``dice_<class>``, ``surface_dice_``, ``hd95_mm_``."""
        overlap = count_overlap(predicted, reference, n_classes=len(self.classes))
        dice = overlap.dice()
        boxes = [_boxes(labels, len(self.classes)) for labels in (predicted, reference)]
        row: dict[str, float] = {}
        for label, name in enumerate(self.classes[1:], start=1):
            box = joined(boxes[0][label - 1], boxes[1][label - 1])
            found = surface_distances(
                predicted[box] == label, reference[box] == label, spacing=geometry.spacing
            )
            row[f"dice_{name}"] = float(dice[label])
            row[f"surface_dice_{name}"] = found.dice(self.tolerance_mm)
            row[f"hd95_mm_{name}"] = found.hausdorff_mm()
        return row


class AirwayScores:
    """The scores of each class, and the measures of ATM'22 of all classes together as one airway.

    Ratios run from 0 to 1. ``dice_<class>`` and its like take the masks as they are, or of one class its
    largest part. The airway's own measures follow the challenge: the prediction's largest connected part
    against the reference's largest part by faces with its holes filled.

    Args:
        classes: Names in the order of the labels, the background first; all others are airway.
        tolerance_mm: As in ``SegmentationScores``.
        connectivity: Neighbours that connect the prediction: 26 as in ATM'22, 6 as in BAS.
        airway: The class of which the largest part (26 neighbours) alone counts as predicted, everywhere;
            None: none, masks are taken as they are.
    """

    def __init__(
        self,
        classes: Sequence[str],
        *,
        tolerance_mm: float = 1.0,
        connectivity: Connectivity = 26,
        airway: int | None = None,
    ) -> None:
        self.airway = airway
        self.segmentation = SegmentationScores(classes, tolerance_mm=tolerance_mm)
        self.connectivity = connectivity

    def case(self, predicted: Labels, reference: Labels, geometry: VolumeGeometry) -> dict[str, float]:
        """Score two label masks (I, J, K) on one grid.

        Beside the keys of ``SegmentationScores``: ``td``, ``bd``, ``dsc``, ``precision``, ``fpr``, ``fnr``
        (NaN for an empty prediction), ``td_mm`` of ``length_mm_reference``, ``branches_detected`` of
        ``branches_reference``, ``leak_count``, ``leak_mm3``,
        ``leak_largest_mm3``, ``leak_ratio``; ``left_out``, the share of the predicted airway that lies
        apart from its largest part and counts for nothing, where that is so.
        """
        left_out = {}
        if self.airway is not None:
            predicted, left_out["left_out"] = keep_largest_airway(predicted, label=self.airway)
        row = self.segmentation.case(predicted, reference, geometry)
        tree = parse_airway(reference_airway(reference), geometry)
        airway = largest_component(predicted > 0, connectivity=self.connectivity)
        counts = count_airway(airway, tree)
        found_mm, whole_mm = length_found_mm(airway, tree)
        leaks = leakage(airway, tree, connectivity=self.connectivity)
        return (
            row
            | counts.fractions()
            | {
                "td_mm": found_mm,
                "length_mm_reference": whole_mm,
                "branches_detected": float(counts.branches_found),
                "branches_reference": float(tree.n_branches),
                "leak_count": float(leaks.leak_count),
                "leak_mm3": leaks.leak_mm3,
                "leak_largest_mm3": leaks.leak_largest_mm3,
                "leak_ratio": leaks.leak_ratio,
            }
            | left_out
        )


def _boxes(labels: Labels, n_classes: int) -> list[Box]:
    """The box around each class but the background, of no extent for one that is not there."""
    whole = labels.view(np.uint8) if labels.dtype == np.bool_ else labels
    found = find_objects(whole, max_label=n_classes - 1)
    return [box or (slice(0, 0),) * 3 for box in found]
