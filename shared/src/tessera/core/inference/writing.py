"""The writer of a bundle's pipeline, with the options a person gave it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from tessera.core.config import Config, validate
from tessera.core.errors import ConfigError
from tessera.core.inference.interfaces import Writer
from tessera.core.pipeline import Pipeline

if TYPE_CHECKING:
    from tessera.core.bundle.bundle import Bundle


def output_options(pipeline: Pipeline, values: Mapping[str, Any]) -> Config | None:
    """The pipeline's options of its outputs with these values; None when it has none."""
    if pipeline.predict_options:
        kind: type[Config] = pipeline.resolve("predict_options")
        return validate(kind, values, source="options of the outputs")
    if values:
        raise ConfigError(f"pipeline {pipeline.name} has no options of its outputs", found=", ".join(values))
    return None


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
