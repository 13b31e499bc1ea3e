"""Bundles with untrained weights: speed and memory do not depend on what a network has learnt."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from tessera.core.bundle.bundle import Bundle, Member, write_bundle
from tessera.core.bundle.card import Card
from tessera.core.config import validate
from tessera.core.data.targets import TargetSpec
from tessera.core.pipeline import Pipeline, get
from tessera.core.run_config import RunConfig

CLASSES = tuple(f"class-{number}" for number in range(10))


def preset_config(pipeline: Pipeline, preset: str, **sections: dict[str, Any]) -> RunConfig:
    """A preset's complete config, some fields of its sections changed."""
    values = pipeline.preset_values(preset)
    for section, changes in sections.items():
        values[section] = {**values.get(section, {}), **changes}
    config: RunConfig = validate(pipeline.resolve("config"), values, source=f"preset {preset}")
    return config


SOUNDS = TargetSpec(kind="class", classes=CLASSES)


def untrained_bundle(
    folder: Path, preset: str, *, name: str = "sound", target: TargetSpec = SOUNDS, **sections: dict[str, Any]
) -> Bundle:
    """A bundle of a pipeline as training would write it, with its first weights.

    Args:
        folder: Where to.
        preset: Of the pipeline.
        name: Of the pipeline.
        target: What it predicts.
        sections: Fields that differ from the preset's.
    """
    pipeline = get(name)
    config = preset_config(pipeline, preset, **sections)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = pipeline.resolve("network")(config, n_outputs=len(target.classes))
    card = Card(
        pipeline=pipeline.name,
        preset=preset,
        task=pipeline.task,
        target_name="label",
        target=target,
        inputs=pipeline.inputs.description,
        input_shape=pipeline.resolve("windows")(config).input_shape,
        members=1,
        parameters=sum(parameter.numel() for parameter in network.parameters()),
        training=(),
        licence=pipeline.licence,
        citation=pipeline.citation,
        intended_use="benchmarks",
        limits="its weights are random",
        versions={"tessera-core": version("tessera-core"), "torch": torch.__version__},
    )
    return write_bundle(folder, pipeline=pipeline, card=card, members=[Member(config, network.state_dict())])
