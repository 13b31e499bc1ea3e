"""What a pipeline is: frozen data with references that are resolved only when used. Imports no torch."""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from tessera.core.config import loads_yaml
from tessera.core.errors import ConfigError

ENTRY_POINT_GROUP = "tessera.pipelines"
MORE = "TESSERA_PIPELINES"  # "module:ATTRIBUTE", several joined by commas: pipelines of no installed package

TaskName = Literal["classification", "regression", "segmentation"]


@dataclass(frozen=True, kw_only=True)
class InputContract:
    """What a pipeline reads.

    Args:
        suffixes: File endings in lower case, compared without regard to case.
        description: One sentence for a person, with units.
    """

    suffixes: tuple[str, ...]
    description: str


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A task plus a data contract; networks are presets of it.

    References are ``"module:attribute"`` strings, so that listing pipelines imports nothing heavy.

    Args:
        name: Name on the command line, for instance ``sound``.
        domain: The vertical's package below ``tessera``.
        summary: One line.
        task: Name of the task in ``tessera.core.tasks``.
        config: The run config's class, a subclass of ``RunConfig``.
        reader: Called with the config; gives a ``Reader``. With ``read_options`` in a prediction also with
            ``options``, of that class.
        windows: Called with the config; gives a ``Windows``.
        network: Called with the config and ``n_outputs``; gives the ``Network``.
        transforms: Called with the config; gives the batch's random ``Transforms``.
        writer: Called with the config and the ``TargetSpec``; gives a ``Writer``. With ``predict_options``
            also with ``options``, of that class, the bundle's ``calibration`` and ``model_digest``.
        figures: Called with the config; gives ``CaseFigures`` for the report.
        read_options: A ``Config`` class of what a person can choose of the inputs of a prediction, or empty.
        predict_options: A ``Config`` class of what a person can choose of the outputs, or empty.
        labels: A ``Config`` class that is also a ``PartLabels``: it cuts cases into labelled parts by the
            field's own tables; or empty.
        pairs: Called with a folder of cases, a folder of masks, and options; gives ``MaskPairs``; or empty.
        configure: Called with the config, the manifest and the split, before training; gives the config with
            what follows from the data filled in; or empty.
        example: Called with a config; gives it with what ``configure`` would fill in for a tiny data set, so
            that every preset can be checked without data; or empty, where presets are complete.
        explain: Called like ``configure``, and with ``measure`` (run a training step); gives what follows
            from the data, and why, as text for a person; or empty.
        scores: Called with the config and the ``TargetSpec`` of a mask; gives ``MaskScores``; or empty.
        measures: Called with labelled predictions, their cases and ``values``; gives tables of what the field
            measures beside the task's metrics (``Measures``); or empty.
        rivals: Called with a name, the manifest, a reader and more; writes one fold of a method without a
            network as a study's finished run (``Rival``); or empty.
        simulators: Name to reference of a simulator.
        presets: Names of ``presets/<pipeline>.<preset>.yaml`` in the vertical's package.
        manifests: Ids of data manifests the vertical ships.
        inputs: The input contract.
        citation: How to cite the methods.
        licence: Licence of the code.
        intended_use: One sentence, copied into each bundle's card.
        limits: What it must not be used for, copied into each bundle's card.
    """

    name: str
    domain: str
    summary: str
    task: TaskName
    config: str
    reader: str
    windows: str
    network: str
    transforms: str
    writer: str
    figures: str
    read_options: str = ""
    predict_options: str = ""
    labels: str = ""
    pairs: str = ""
    configure: str = ""
    example: str = ""
    explain: str = ""
    scores: str = ""
    measures: str = ""
    rivals: str = ""
    simulators: Mapping[str, str] = field(default_factory=dict)
    presets: tuple[str, ...]
    manifests: tuple[str, ...] = ()
    inputs: InputContract
    citation: str
    licence: str
    intended_use: str
    limits: str

    def resolve(self, attribute: str) -> Any:
        """Import and return what a reference field points to."""
        return resolve(getattr(self, attribute))

    def preset_values(self, preset: str) -> dict[str, Any]:
        """Read a preset's YAML; ``preset`` without the pipeline's name."""
        if preset not in self.presets:
            raise ConfigError(
                f"pipeline {self.name} has no preset '{preset}'", expected=f"one of {', '.join(self.presets)}"
            )
        name = f"{self.name}.{preset}.yaml"
        text = files(f"tessera.{self.domain}").joinpath("presets", name).read_text(encoding="utf-8")
        values = loads_yaml(text, source=f"preset {name}")
        return {"pipeline": self.name, "preset": preset, **values}


def resolve(reference: str) -> Any:
    """Import ``"module:attribute"``."""
    module, _, attribute = reference.partition(":")
    return getattr(importlib.import_module(module), attribute)


@cache
def discover() -> Mapping[str, Pipeline]:
    """All pipelines of the installed packages and of ``TESSERA_PIPELINES``, by name."""
    found: dict[str, Pipeline] = {}
    named = [
        EntryPoint(MORE, text.strip(), ENTRY_POINT_GROUP) for text in os.environ.get(MORE, "").split(",")
    ]
    installed = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda item: item.name)
    for entry in (*installed, *(entry for entry in named if entry.value)):
        for pipeline in _load(entry):
            if pipeline.name in found:
                raise ConfigError(
                    f"two packages offer a pipeline called '{pipeline.name}'",
                    found=f"{found[pipeline.name].domain} and {pipeline.domain}",
                    hint="uninstall one of the two packages",
                )
            found[pipeline.name] = pipeline
    return MappingProxyType(found)


def _load(entry: EntryPoint) -> tuple[Pipeline, ...]:
    try:
        return tuple(entry.load())
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"cannot load the pipelines of {entry.value}",
            found=error,
            hint=f"correct {MORE}, or PYTHONPATH" if entry.name == MORE else "install the package again",
        ) from error


def get(name: str) -> Pipeline:
    """The pipeline of that name."""
    pipelines = discover()
    if name not in pipelines:
        raise ConfigError(
            f"there is no pipeline '{name}'",
            expected=f"one of {', '.join(pipelines) or '(none installed)'}",
            hint="tessera list shows what is installed; pip install tessera-<field> adds a field",
        )
    return pipelines[name]
