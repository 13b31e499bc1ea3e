"""From a fingerprint to everything a network needs to know of its data, each choice with its reason."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tessera.core.errors import ConfigError
from tessera.medical.planning.audit import mirror_rule
from tessera.medical.planning.data_config import (
    AsStoredConfig,
    BytesConfig,
    CTConfig,
    NormalisationConfig,
    RescaleConfig,
    VolumeDataConfig,
    ZScoreConfig,
)
from tessera.medical.planning.fingerprint import Fingerprint
from tessera.medical.planning.low_resolution import LowResolution, plan_low_resolution
from tessera.medical.planning.topology import (
    PRESETS,
    REFERENCE_BATCH,
    Preset,
    Shape,
    Topology,
    batch_size,
    fit_patch,
    memory_elements,
    topology_of,
)

ANISOTROPIC = 3.0  # times the other spacings, and as many times fewer voxels: thick slices
THIN_PERCENTILE = 10  # of the thick axis's spacings that is taken then
MASKED_BELOW = 0.75  # share of the image that is not zero
HOUNSFIELD_AIR = -500  # an image whose lowest value lies below this is taken for CT
BYTES_A_VALUE = 4

SPECIAL: dict[str, AsStoredConfig | RescaleConfig | BytesConfig] = {
    "nonorm": AsStoredConfig(),
    "as-stored": AsStoredConfig(),
    "rescale_to_0_1": RescaleConfig(),
    "rescale": RescaleConfig(),
    "rgb_to_0_1": BytesConfig(),
    "rgb": BytesConfig(),
}


@dataclass(frozen=True)
class VolumePlan:
    """Settings that follow from the data; vectors are in the network's order of axes.

    Args:
        preset: The rules that were followed.
        axes: RAS axes in the network's order.
        spacing_mm: Of the network's voxels; None keeps each image's own (across slices).
        shape: Median image at that spacing.
        patch: The network's input, its first side 1 for slices.
        batch: Patches a step.
        network: Strides, kernels and features, two axes for slices.
        channels: What each channel is.
        normalisation: Of each channel.
        mirrors: Axes that may be mirrored in training.
        sides: Classes that change places when left and right are mirrored.
        elements: Memory proxy: elements of all feature maps of one patch.
        training_gb: Rough memory of a training step on a card with 16-bit arithmetic.
        case_mb: Memory of the median prepared image.
        low_resolution: What a first, coarse network would see, when patches show too little of an image.
        reasons: Why, one sentence a choice.
        warnings: What a person should look at.
        fingerprint: What the plan follows from.
    """

    preset: str
    axes: tuple[int, ...]
    spacing_mm: tuple[float | None, ...]
    shape: tuple[float, ...]
    patch: Shape
    batch: int
    network: Topology
    channels: tuple[str, ...]
    normalisation: tuple[NormalisationConfig, ...]
    mirrors: tuple[int, ...]
    sides: tuple[tuple[int, int], ...]
    elements: int
    training_gb: float
    case_mb: float
    low_resolution: LowResolution | None
    reasons: tuple[str, ...]
    warnings: tuple[str, ...]
    fingerprint: Fingerprint

    @property
    def spatial_dims(self) -> int:
        """3 for volumes, 2 for slices."""
        return len(self.network.patch)


def make_plan(found: Fingerprint, wishes: VolumeDataConfig, *, preset: Preset | None = None) -> VolumePlan:
    """Plan by the rules of nnU-Net v2; what ``wishes`` sets is kept and the rest follows from it.

    Args:
        found: Of the training cases.
        wishes: The data section of a run.
        preset: Memory and network; ``wishes.planner`` or the default when not given.
    """
    preset = preset or PRESETS[wishes.planner or "default"]
    preset = replace(preset, rule=wishes.shrink_rule or preset.rule)
    reasons: list[str] = []
    warnings: list[str] = []
    axes, spacing = _grid(found, wishes, reasons)
    shape = median_shape(found, axes, spacing)
    dims = wishes.spatial_dims
    flat = 3 - dims  # axes across which slices are taken: not part of the network
    examples = len(found.cases) * (1 if dims == 3 else math.ceil(shape[0]))
    memory_gb = wishes.memory_gb or preset.memory_gb
    limit = preset.elements[dims] * memory_gb / preset.memory_gb
    inner = spacing[flat:], shape[flat:]
    n_classes = len(found.classes)
    if wishes.patch is not None:
        net = topology_of(inner[0], wishes.patch[flat:])
        reasons.append(f"The patch {_by(wishes.patch)} is your choice.")
    else:
        net = fit_patch(*inner, classes=n_classes, preset=preset, limit=limit)
        reasons.append(
            f"The patch {_by(net.patch)} is the largest whose memory fits {memory_gb:g} GB "
            f"({preset.name} planner, {preset.rule} rule), shaped like the median image {_by(inner[1])}."
        )
    if dims == 3 and net.patch[0] == 1:
        raise ConfigError(
            "the images are single slices",
            found=f"{_by(shape)} voxels, the median image",
            expected="volumes",
            hint="--set data.spatial_dims=2, with a network for slices",
        )
    elements = memory_elements(net, classes=n_classes, residual=preset.residual)
    batch, by_data = batch_size(net, inner[1], cases=examples, elements=elements, preset=preset, limit=limit)
    why = f"the data allow {by_data}" if by_data <= batch else "the memory allows no more"
    reasons.append(f"The batch holds {batch} patches: {why}; two are the least.")
    kept: tuple[float | None, ...] = (None,) * flat + spacing[flat:]
    low = None
    if dims == 3 and wishes.patch is None:
        low = plan_low_resolution(spacing, shape, net.patch, classes=n_classes, preset=preset, limit=limit)
        _explain_low_resolution(low, net.patch, shape, reasons, warnings)
    channels = _channels(found, wishes, reasons)
    mirror = mirror_rule(found.classes, axes, spatial_dims=dims)
    reasons.append(mirror.reason if wishes.mirrors is None else _chosen_mirrors(wishes.mirrors, axes))
    return VolumePlan(
        preset=preset.name,
        axes=axes,
        spacing_mm=wishes.spacing_mm or kept,
        shape=shape,
        patch=(1,) * flat + net.patch,
        batch=batch,
        network=net,
        channels=channels,
        normalisation=wishes.normalisation or choose_normalisation(found, channels, reasons),
        mirrors=mirror.axes if wishes.mirrors is None else wishes.mirrors,
        sides=mirror.pairs if wishes.sides is None else wishes.sides,
        elements=elements,
        training_gb=elements / preset.elements[dims] * preset.memory_gb * batch / REFERENCE_BATCH[dims],
        case_mb=len(channels) * math.prod(shape) * BYTES_A_VALUE / 1e6,
        low_resolution=low,
        reasons=tuple(reasons),
        warnings=(*warnings, *_rare(found, spacing)),
        fingerprint=found,
    )


def target_spacing(spacings: npt.ArrayLike, shapes: npt.ArrayLike) -> tuple[float, ...]:
    """The spacing (D,) of the network for images of spacings (N, D), mm, and sizes (N, D).

    The median of each axis; of thick slices in few voxels the thinner ones, so that not most of the images
    lose detail to the median.
    """
    steps = np.asarray(spacings, dtype=np.float64)
    target, size = np.percentile(steps, 50, 0), np.percentile(np.asarray(shapes), 50, 0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(len(target)) if axis != worst]
    coarsest_other = float(target[others].max())
    if target[worst] > ANISOTROPIC * coarsest_other and size[worst] * ANISOTROPIC < size[others].min():
        thin = float(np.percentile(steps[:, worst], THIN_PERCENTILE))
        target[worst] = max(coarsest_other, thin) + 1e-5 if thin < coarsest_other else thin
    return tuple(float(step) for step in target)


def median_shape(found: Fingerprint, axes: Sequence[int], spacing: Sequence[float]) -> tuple[float, ...]:
    """Median size of the images at that spacing; axes and spacing in the network's order."""
    shapes = [
        [round(case.shape[axis] * case.spacing_mm[axis] / mm) for axis, mm in zip(axes, spacing, strict=True)]
        for case in found.cases
    ]
    return tuple(float(max(1.0, n)) for n in np.median(shapes, axis=0))


def guess_channels(found: Fingerprint, reasons: list[str]) -> tuple[str, ...]:
    """CT where most images reach down to air in Hounsfield units, else MR."""
    lowest = np.median([case.least for case in found.cases], axis=0)
    names = tuple("ct" if low < HOUNSFIELD_AIR else "mr" for low in lowest)
    reasons.append(
        "The channels are taken for "
        + ", ".join(f"{name.upper()} (lowest value {low:g})" for name, low in zip(names, lowest, strict=True))
        + "; data.channels says otherwise."
    )
    return names


def choose_normalisation(
    found: Fingerprint, channels: Sequence[str], reasons: list[str]
) -> tuple[NormalisationConfig, ...]:
    """One scheme a channel, by the channel's name."""
    share = float(np.median([case.relative_size for case in found.cases]))
    masked = share < MASKED_BELOW
    chosen: list[NormalisationConfig] = []
    for name, facts in zip(channels, found.channels, strict=True):
        special = SPECIAL.get(name.lower())
        if special is not None:
            chosen.append(special)
            reasons.append(f"Channel {name} is normalised as its name says: {special.kind}.")
        elif name.lower() == "ct":
            chosen.append(CTConfig(low=facts.low, high=facts.high, mean=facts.mean, std=facts.std))
            reasons.append(
                f"Channel {name} is clipped to {facts.low:g} to {facts.high:g} HU, where 99 % of the "
                f"foreground lies, then standardised by its mean {facts.mean:.4g} and std {facts.std:.4g}."
            )
        else:
            chosen.append(ZScoreConfig(masked=masked))
            inside = f"inside the non-zero part, {share:.0%} of an image" if masked else "as a whole"
            reasons.append(f"Channel {name} has no absolute scale: each image is standardised {inside}.")
    return tuple(chosen)


def _chosen_mirrors(mirrors: Sequence[int], axes: Sequence[int]) -> str:
    names = ", ".join("RAS"[axes[axis]] for axis in mirrors)
    return f"Patches are {f'mirrored along {names}' if names else 'not mirrored'}, as data.mirrors says."


def _channels(found: Fingerprint, wishes: VolumeDataConfig, reasons: list[str]) -> tuple[str, ...]:
    """What each channel is; refuses another number of names than the images have channels."""
    named = wishes.channels or guess_channels(found, reasons)
    for name, values in (("channels", named), ("normalisation", wishes.normalisation or named)):
        if len(values) != len(found.channels):
            raise ConfigError(
                f"data.{name} does not fit the images",
                found=f"{len(values)} entries",
                expected=f"{len(found.channels)}, one for each channel",
            )
    return named


def _grid(
    found: Fingerprint, wishes: VolumeDataConfig, reasons: list[str]
) -> tuple[tuple[int, ...], tuple[float, ...]]:
    """Order of axes and spacing, the network's order."""
    steps = [case.spacing_mm for case in found.cases]
    target = target_spacing(steps, [case.shape for case in found.cases])
    axes = wishes.axes
    if axes is None:
        worst = int(np.argmax(target))
        axes = (worst, *(axis for axis in range(3) if axis != worst))
        thickest = target[worst] > min(target)
        why = f"axis {'RAS'[worst]} first, whose voxels are the thickest" if thickest else "all equally thick"
        reasons.append(f"The axes are in the order {''.join('RAS'[axis] for axis in axes)}: {why}.")
    planned = tuple(target[axis] for axis in axes)
    if wishes.spacing_mm is not None:
        chosen = tuple(a if b is None else b for a, b in zip(planned, wishes.spacing_mm, strict=True))
        reasons.append(f"The spacing {_by(chosen)} mm is your choice.")
        return axes, chosen
    median = np.percentile(steps, 50, 0)
    thick = (
        " and thinner slices than the median, for they are few and thick" if max(target) < max(median) else ""
    )
    reasons.append(f"The spacing {_by(planned)} mm is the median of the training images{thick}.")
    return axes, planned


def _explain_low_resolution(
    low: LowResolution | None, patch: Shape, shape: Sequence[float], reasons: list[str], warnings: list[str]
) -> None:
    share = math.prod(patch) / math.prod(shape)
    if low is None:
        reasons.append(f"A patch shows {min(1.0, share):.0%} of a median image: no cascade is needed.")
        return
    warnings.append(
        f"A patch shows {share:.0%} of a median image. A cascade would begin at {_by(low.spacing_mm)} mm "
        f"with patches of {_by(low.patch)}; it is not trained here. A coarser data.spacing_mm shows more."
    )


def _rare(found: Fingerprint, spacing: Sequence[float]) -> list[str]:
    """Classes that may vanish at the planned spacing, or that a random patch hardly meets."""
    voxel = math.prod(spacing)
    warnings = []
    for place, name in enumerate(found.classes[1:]):
        facts = [(case, case.classes[place]) for case in found.cases]
        present = [(case, one) for case, one in facts if one.voxels]
        if not present:
            warnings.append(f"No training case shows the class {name}: it cannot be learnt.")
            continue
        tiny = [case.id for case, one in present if one.smallest_mm3 < voxel]
        if tiny:
            warnings.append(
                f"{name}: in {len(tiny)} of {len(present)} cases a part is smaller than a planned voxel "
                f"({voxel:.3g} mm3), for instance in {tiny[0]}; the audit shows whether it survives."
            )
        shares = [one.voxels / math.prod(case.shape) for case, one in present]
        if float(np.median(shares)) < 1e-4:
            warnings.append(
                f"{name} fills {float(np.median(shares)):.4%} of an image: data.foreground decides how often "
                "patches show it."
            )
    return warnings


def _by(values: Sequence[float]) -> str:
    return " x ".join(f"{value:.4g}" for value in values)
