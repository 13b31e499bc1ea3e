"""What in an image spoke for an answer: which prediction asks for it, and where it lies on the image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from tessera.astronomy.output_config import SkyOutput
from tessera.astronomy.windows import inside
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import ConfigError, DataError

if TYPE_CHECKING:
    from tessera.core.inference.extras import MapRule

FOLDER = "heatmaps"
METHOD, CLASS, SCORE, CASE = "METHOD", "CLASS", "SCORE", "CASEID"  # keywords of their files
PARTS = 8  # a window of occlusion is this part of an input's side

Map = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class HeatMap:
    """A map (H, W) on the grid of its image, and what it is of."""

    values: Map
    method: str
    class_name: str


def map_rule(options: SkyOutput, target: TargetSpec, *, side_px: int | None) -> MapRule | None:
    """What the network is asked to explain: the last of the classes that exclude each other; None: nothing.

    Args:
        options: What a person chose.
        target: What the network answers.
        side_px: Of an input.
    """
    if options.heat_maps == "all" and target.kind != "class":
        raise ConfigError(
            "heat_maps: only an answer among classes has heat maps",
            found=f"a target of {target.kind}",
            hint="leave heat_maps out",
        )
    if options.heat_maps == "none" or target.kind != "class":
        return None
    from tessera.core.explain import GradCam, Occlusion
    from tessera.core.inference.extras import MapRule

    if options.heat_map_method == "grad-cam":
        return MapRule(len(target.classes) - 1, GradCam(), exclusive=True)
    if side_px is None:
        raise ValueError("occlusion needs the side of an input")
    window = max(1, side_px // PARTS)
    return MapRule(len(target.classes) - 1, Occlusion(window, stride=max(1, window // 2)), exclusive=True)


def on_image(map: Map, shape: Sequence[int]) -> Map:
    """A map (S, S) on the network's input as one (H, W) on the image it came from, 0 where that was cut off.

    The image was cut to at most S a side around its centre and put in the middle of zeros (see ``windows``).
    """
    side = len(map)
    first = [max(0, (length - side) // 2) for length in shape]
    size = [min(length, side) for length in shape]
    whole = np.zeros(tuple(shape), dtype=np.float32)
    rows, columns = (slice(at, at + length) for at, length in zip(first, size, strict=True))
    whole[rows, columns] = map[inside(size, side)]
    return whole


def heat_map_among(files: Iterable[Path]) -> HeatMap | None:
    """The heat map among the files of a prediction, None where there is none."""
    from astropy.io import fits

    for path in files:
        if path.parent.name != FOLDER:
            continue
        try:
            with fits.open(path, memmap=False) as units:
                header, values = units[0].header, units[0].data
        except (OSError, ValueError, TypeError) as error:
            raise DataError(f"cannot read {path}", found=" ".join(str(error).split())) from None
        return HeatMap(np.asarray(values, dtype=np.float32), header.get(METHOD, ""), header.get(CLASS, ""))
    return None
