"""The reader and the writer of a bundle's pipeline, with the options a person gave them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tessera.core.config import Config, validate
from tessera.core.data.case import Reader
from tessera.core.errors import ConfigError
from tessera.core.inference.interfaces import Writer
from tessera.core.pipeline import Pipeline

if TYPE_CHECKING:
    from tessera.core.bundle.bundle import Bundle


def output_options(pipeline: Pipeline, values: Mapping[str, Any]) -> Config | None:
    """The pipeline's options of its outputs with these values; None when it has none."""
    return _options(pipeline, "predict_options", values, what="outputs")


def read_options(pipeline: Pipeline, values: Mapping[str, Any]) -> Config | None:
    """The pipeline's options of its inputs with these values; None when it has none."""
    return _options(pipeline, "read_options", values, what="inputs")


def _options(pipeline: Pipeline, attribute: str, values: Mapping[str, Any], *, what: str) -> Config | None:
    if getattr(pipeline, attribute):
        kind: type[Config] = pipeline.resolve(attribute)
        return validate(kind, values, source=f"options of the {what}")
    if values:
        raise ConfigError(f"pipeline {pipeline.name} has no options of its {what}", found=", ".join(values))
    return None


def build_reader(bundle: Bundle, chosen: Config | None) -> Reader:
    """The reader for a bundle and options of its inputs."""
    build = bundle.pipeline.resolve("reader")
    reader: Reader = build(bundle.config) if chosen is None else build(bundle.config, options=chosen)
    return reader


def build_writer(bundle: Bundle, output: Config | None) -> Writer:
    """The writer for a bundle and options; raises ``ConfigError`` when the two do not fit."""
    build = bundle.pipeline.resolve("writer")
    if output is None:
        return build(bundle.config, bundle.card.target)
    return build(
        bundle.config,
        bundle.card.target,
        options=output,
        calibration=bundle.calibration,
        model_digest=bundle.digest,
    )


def stored_options(pipeline: Pipeline, text: str) -> Config | None:
    """The options that ``Identity.output`` keeps."""
    return output_options(pipeline, json.loads(text) if text else {})
