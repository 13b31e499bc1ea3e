"""A plan written into a run's config: every null of ``data`` and ``model`` that follows from the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, TypeVar

from tessera.core.errors import ConfigError
from tessera.core.run_config import RunConfig
from tessera.medical.planning.audit import mirror_rule
from tessera.medical.planning.data_config import VolumeDataConfig
from tessera.medical.planning.plan import VolumePlan

ConfigT = TypeVar("ConfigT", bound=RunConfig)

DATA = ("axes", "spacing_mm", "patch", "channels", "normalisation")
NAMES = ("mirrors", "sides")  # follow from the classes' names alone
STAGES = ("features", "strides", "kernels")
EPOCH_STEPS = 250  # of nnU-Net: an epoch is so many steps, however few the cases are


def open_fields(config: RunConfig) -> tuple[str, ...]:
    """Names of the fields that can only be filled by looking at the images, for instance data.patch."""
    data = data_of(config)
    found = [f"data.{name}" for name in DATA if getattr(data, name) is None]
    return (*found, *(f"model.{name}" for name in _open_stages(config)))


def fill_names(config: ConfigT, classes: Sequence[str]) -> ConfigT:
    """The config with mirrored axes and sides of the body, once the order of axes is known."""
    data = data_of(config)
    if data.axes is None:
        return config
    rule = mirror_rule(classes, data.axes, spatial_dims=data.spatial_dims)
    named = {"mirrors": rule.axes, "sides": rule.pairs}
    filled = {name: value for name, value in named.items() if getattr(data, name) is None}
    return config.model_copy(update={"data": data.model_copy(update=filled)}) if filled else config


def apply_plan(config: ConfigT, plan: VolumePlan) -> ConfigT:
    """The config with its nulls taken from the plan.

    The batch is set too, unless ``data.plan_batch`` forbids it, for networks that are planned stage by stage:
    the plan knows their memory.
    """
    data, model = data_of(config), getattr(config, "model", None)
    filled = {name: getattr(plan, name) for name in (*DATA, *NAMES) if getattr(data, name) is None}
    update: dict[str, Any] = {"data": data.model_copy(update=filled)}
    stages = _open_stages(config)
    if model is not None and stages:
        _check_patch(data, plan)
        update["model"] = model.model_copy(update={name: getattr(plan.network, name) for name in stages})
        if data.plan_batch:
            update["trainer"] = config.trainer.model_copy(update={"batch_size": plan.batch})
    return config.model_copy(update=update)


def fill_epoch(config: ConfigT, *, cases: int) -> ConfigT:
    """The config with as many patches a case as make an epoch of about 250 steps, once the batch is known.

    What follows an epoch, the validation above all, then takes a small share of the time even where cases
    are few; with many cases an epoch is longer, because each is seen.
    """
    data = data_of(config)
    if data.regions_per_case is not None:
        return config
    rows = EPOCH_STEPS * config.trainer.batch_size * config.trainer.accumulate
    regions = max(1, round(rows / max(1, cases)))
    return config.model_copy(update={"data": data.model_copy(update={"regions_per_case": regions})})


def epoch_reason(config: RunConfig, *, cases: int) -> str:
    """What an epoch of the complete config is, in words."""
    regions = data_of(config).regions_per_case or 1
    steps = math.ceil(regions * cases / (config.trainer.batch_size * config.trainer.accumulate))
    return f"An epoch draws {regions} patches of each of {cases} cases: {steps} steps, then it is validated."


def data_of(config: RunConfig) -> VolumeDataConfig:
    """The data section, if it is one of volumes."""
    if not isinstance(config.data, VolumeDataConfig):
        raise TypeError(f"volumes need a VolumeDataConfig, not {type(config.data).__name__}")
    return config.data


def _open_stages(config: RunConfig) -> list[str]:
    model = getattr(config, "model", None)
    fields = () if model is None else type(model).model_fields
    return [name for name in STAGES if name in fields and getattr(model, name) is None]


def _check_patch(data: VolumeDataConfig, plan: VolumePlan) -> None:
    """Refuse a patch that the planned strides do not divide."""
    flat = 3 - plan.spatial_dims
    if data.patch is not None and data.patch[flat:] != plan.network.patch:
        raise ConfigError(
            "the planned network cannot take data.patch",
            found=" x ".join(map(str, data.patch)),
            expected=f"sides divisible by {' x '.join(map(str, plan.network.divisor))}",
            hint=f"--set data.patch=[{', '.join(map(str, (1,) * flat + plan.network.patch))}]",
        )
