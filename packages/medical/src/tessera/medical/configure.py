"""What the pipelines' configs leave open, planned from the training volumes, and why in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch

from tessera.core.data.case import Case
from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.errors import ConfigError, DataError
from tessera.core.network import build_network
from tessera.core.pipeline import get
from tessera.medical.config import AirwayConfig, VolumeConfig
from tessera.medical.model_config import PlainUNetConfig, ResidualUNetConfig, UMambaConfig
from tessera.medical.network_config import AirwayNetConfig, HiFormerConfig, TubuleNetConfig
from tessera.medical.planning.audit import audit_survival
from tessera.medical.planning.configure import apply_plan, plan_volumes
from tessera.medical.planning.configure import configure as plan_config
from tessera.medical.planning.configure import example as plan_example
from tessera.medical.planning.explain import explain as page
from tessera.medical.planning.filling import epoch_reason, fill_epoch, fill_names
from tessera.medical.planning.memory import Measured, free_bytes, measure_step
from tessera.medical.planning.plan import VolumePlan
from tessera.medical.readers import VolumeReader
from tessera.medical.scan_facts import Onlooker, modalities_of, seen_scans

ConfigT = TypeVar("ConfigT", VolumeConfig, AirwayConfig)

WINDOWS = (7, 8, 6, 5, 4)  # sides of Swin's windows that are tried, the paper's first
EXAMPLE_PATCH = 32  # voxels a side: two are left after the four halvings of the airway networks
FULL_PRECISION = 2  # the plan's memory is that of 16-bit arithmetic
SCALES = 16  # the coarsest map of HiFormer and of the airway networks is so much smaller than its input


def configure(config: ConfigT, manifest: Manifest, split: Split) -> ConfigT:
    """The config with all its nulls filled in from the training cases."""
    reader = Onlooker(VolumeReader(config))
    filled = _fit_network(plan_config(config, manifest, split, reader=reader))
    return _with_scans(filled, split.cases(manifest.cases, "train"), reader)


def example(config: ConfigT) -> ConfigT:
    """The same for a data set of tiny cubes, without reading any.

    A preset's patch is made small as well, and volumes keep their own spacing, so that checks are quick.
    """
    data = config.data
    changes: dict[str, Any] = {"spacing_mm": data.spacing_mm or (None, None, None)}
    if data.patch is not None:
        changes["patch"] = tuple(min(side, EXAMPLE_PATCH) for side in data.patch)
    config = config.model_copy(update={"data": data.model_copy(update=changes)})
    return _fit_network(plan_example(config))


def explain(config: ConfigT, manifest: Manifest, split: Split, *, measure: bool) -> str:
    """Fingerprint, plan and reasons as a page of text; ``measure`` runs one training step on this machine."""
    plan: VolumePlan = plan_volumes(config, manifest, split)
    cases = split.cases(manifest.cases, "train")
    complete = _fit_network(fill_names(apply_plan(config, plan), manifest.target(config.data.target).classes))
    complete = fill_epoch(complete, cases=len(cases))
    losses = audit_survival(
        cases,
        VolumeReader(config),
        target=config.data.target,
        classes=manifest.target(config.data.target).classes,
        axes=plan.axes,
        spacing_mm=plan.spacing_mm,
    )
    measured = _measure(complete, manifest, plan.training_gb) if measure else None
    shown = replace(
        plan,
        patch=complete.data.patch or plan.patch,
        batch=complete.trainer.batch_size,
        reasons=(*plan.reasons, epoch_reason(complete, cases=len(cases))),
    )
    staged = not isinstance(config.model, HiFormerConfig | AirwayNetConfig | TubuleNetConfig)
    return page(shown, losses=losses, measured=measured, stages=staged)


def _with_scans(config: ConfigT, cases: Sequence[Case], reader: Onlooker) -> ConfigT:
    """The config with what its training scans are and look like."""
    found: dict[str, Any] = {}
    if config.modalities is None:
        found["modalities"] = modalities_of(cases, config.data.channels or ("",))
    if config.scans is None and cases:
        found["scans"] = seen_scans(reader.of(cases), config.data.normalisation or ())
    return config.model_copy(update=found)


def _measure(config: VolumeConfig | AirwayConfig, manifest: Manifest, training_gb: float) -> Measured:
    """One training step of the complete config's network, unless it cannot fit."""
    pipeline = get(config.pipeline)
    free = free_bytes()
    needed = FULL_PRECISION * training_gb
    if free is not None and free / 1e9 < needed:
        raise DataError(
            "a training step of this plan does not fit into memory",
            found=f"{free / 1e9:.1f} GB free",
            expected=f"about {needed:.1f} GB in 32-bit arithmetic",
            hint="--set data.memory_gb=2 plans a smaller network; or measure on the machine that will train",
        )
    channels, *patch = pipeline.resolve("windows")(config).input_shape
    with torch.random.fork_rng(devices=[]):  # building draws initial weights
        network = build_network(pipeline, config, manifest.target(config.data.target))
    return measure_step(network, patch, config.trainer.batch_size, channels=channels)


def _fit_network(config: ConfigT) -> ConfigT:
    """Sizes that a network's weights are bound to, from the patch, and the patch as the network needs it."""
    model, patch = config.model, config.data.patch
    if patch is None or isinstance(model, PlainUNetConfig | ResidualUNetConfig):
        return config
    flat = 3 - config.data.spatial_dims
    inner: tuple[int, ...] = patch[flat:]
    if isinstance(model, HiFormerConfig):
        window, inner = swin_size(model.patch or inner, window=model.window)
        model = model.model_copy(update={"patch": inner, "window": window})
    elif isinstance(model, AirwayNetConfig | TubuleNetConfig):
        inner = pooled_size(inner)
    if isinstance(model, UMambaConfig | TubuleNetConfig):
        if model.patch not in (None, inner):
            raise ConfigError(
                f"the weights of this {model.kind} would be bound to other patches than the data's",
                found=f"model.patch {model.patch}, data.patch {patch[:flat] + inner}",
                hint="set model.patch to null: it follows from data.patch",
            )
        model = model.model_copy(update={"patch": inner})
    data = config.data.model_copy(update={"patch": patch[:flat] + inner})
    return config.model_copy(update={"model": model, "data": data})


def pooled_size(patch: tuple[int, ...]) -> tuple[int, ...]:
    """The patch enlarged for four halvings that leave more than one value, which an instance norm needs."""
    sides = tuple(math.ceil(n / SCALES) * SCALES for n in patch)
    return sides if max(sides) > SCALES else (*sides[:-1], 2 * SCALES)


def swin_size(patch: tuple[int, ...], *, window: int | None = None) -> tuple[int, tuple[int, ...]]:
    """Side of Swin's windows, and the patch enlarged so that they fill its coarsest map: the least larger."""
    sides = WINDOWS if window is None else (window,)
    fits = [(side, tuple(math.ceil(n / (SCALES * side)) * SCALES * side for n in patch)) for side in sides]
    return min(fits, key=lambda fit: math.prod(fit[1]))
