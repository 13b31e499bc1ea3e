"""What a run leaves open about its volumes, planned from the training cases."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch

from tessera.core.data.manifest import Manifest
from tessera.core.data.splits import Split
from tessera.core.errors import DataError
from tessera.core.run_config import RunConfig
from tessera.medical.planning.audit import grouping_warnings
from tessera.medical.planning.filling import (
    ConfigT,
    apply_plan,
    data_of,
    fill_epoch,
    fill_names,
    open_fields,
)
from tessera.medical.planning.fingerprint import (
    CaseFacts,
    ClassFacts,
    Fingerprint,
    MaskReader,
    Progress,
    channel_facts,
    take_fingerprint,
)
from tessera.medical.planning.memory import free_bytes
from tessera.medical.planning.plan import VolumePlan, make_plan
from tessera.medical.planning.topology import PRESETS
from tessera.medical.readers import VolumeReader

__all__ = ["apply_plan", "configure", "example", "open_fields", "plan_volumes"]

EXAMPLE_SIDE = 16  # voxels of the images of ``example``
EXAMPLE_CASES = 10**6  # so many that a patch of each is enough for an epoch

log = logging.getLogger(__name__)


def configure(
    config: ConfigT, manifest: Manifest, split: Split, *, reader: MaskReader | None = None
) -> ConfigT:
    """The config with every null of ``data`` and ``model`` planned from the training cases.

    Args:
        config: With a ``VolumeDataConfig`` as ``data`` and perhaps a ``model``.
        manifest: The data set.
        split: Only its training cases are looked at, and only when something is open.
        reader: Opens images and masks; files of volumes when not given.
    """
    if open_fields(config):
        plan = plan_volumes(config, manifest, split, reader=reader)
        for warning in plan.warnings:
            log.warning("%s", warning)
        config = apply_plan(config, plan)
    config = fill_epoch(config, cases=len(split.cases(manifest.cases, "train")))
    return fill_names(config, manifest.target(data_of(config).target).classes)


def example(config: ConfigT) -> ConfigT:
    """The config as ``configure`` would fill it in for a data set of tiny cubes, without reading any."""
    data = data_of(config)
    names = data.channels or ("mr",)
    values = (0.0,) * len(names)
    cube = CaseFacts(
        "cube", (EXAMPLE_SIDE,) * 3, (1.0,) * 3, 1.0, values, values, (ClassFacts(512, 1, 512.0),)
    )
    facts = channel_facts(torch.arange(256.0).numpy())
    found = Fingerprint(("background", "organ"), (facts,) * len(names), (cube,))
    plan = make_plan(found, data.model_copy(update={"planner": _planner(config)}))
    filled = fill_names(apply_plan(config, plan), found.classes)
    return fill_epoch(filled, cases=EXAMPLE_CASES)


def plan_volumes(
    config: RunConfig,
    manifest: Manifest,
    split: Split,
    *,
    reader: MaskReader | None = None,
    progress: Progress | None = None,
) -> VolumePlan:
    """The plan of a run, from the training cases alone."""
    wishes = data_of(config)
    spec = manifest.target(wishes.target)
    if spec.kind != "mask":
        raise DataError(
            f"the target {wishes.target} of {manifest.info.id} is no mask", found=spec.kind, expected="mask"
        )
    cases = split.cases(manifest.cases, "train")
    if not cases:
        raise DataError("there is nothing to plan from", found="no training case", hint="look at splits.csv")
    opener: MaskReader = VolumeReader(config) if reader is None else reader
    found = take_fingerprint(
        cases, opener, target=wishes.target, classes=spec.classes, crop=wishes.crop, progress=progress
    )
    memory_gb, remarks = _budget(config)
    wishes = wishes.model_copy(update={"planner": _planner(config), "memory_gb": memory_gb})
    plan = make_plan(found, wishes)
    return replace(plan, warnings=(*remarks, *grouping_warnings(cases), *plan.warnings))


def _planner(config: RunConfig) -> str:
    """Name of the rules: the chosen ones, or those made for the network."""
    residual = "residual" in str(getattr(getattr(config, "model", None), "kind", ""))
    return data_of(config).planner or ("resenc-m" if residual else "default")


def _budget(config: RunConfig) -> tuple[float, list[str]]:
    """Memory of the plan (GB), and what a person should know of it."""
    chosen = data_of(config).memory_gb
    wanted = chosen or PRESETS[_planner(config)].memory_gb
    device = _device(config)
    free = free_bytes(device)
    if chosen is not None or free is None or free / 1e9 >= wanted:
        return wanted, []
    less = round(max(0.5, free / 1e9), 1)
    where = "GPU" if device == "cuda" else "machine"
    return less, [f"This {where} has {less:g} GB free instead of {wanted:g}: the plan is smaller."]


def _device(config: RunConfig) -> str:
    return "cuda" if torch.cuda.is_available() and config.trainer.accelerator != "cpu" else "cpu"
