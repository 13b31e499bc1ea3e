"""The pipelines as data: what their presets share, and that every readable file is promised."""

from __future__ import annotations

from typing import Any

import pytest

from tessera.astronomy.catalogues import FORMATS as CATALOGUES
from tessera.astronomy.density_files import SUFFIXES as MAPS
from tessera.astronomy.image_files import SUFFIXES as IMAGES
from tessera.astronomy.pipelines import COSMOLOGY, PIPELINES, TIDAL_FEATURES
from tessera.core.pipeline import get


def values(preset: str) -> dict[str, Any]:
    return TIDAL_FEATURES.preset_values(preset)


def test_both_are_found_by_their_names() -> None:
    assert [get(pipeline.name) for pipeline in PIPELINES] == [TIDAL_FEATURES, COSMOLOGY]
    assert {pipeline.domain for pipeline in PIPELINES} == {"astronomy"}


def test_every_file_the_readers_open_is_promised() -> None:
    assert set(TIDAL_FEATURES.inputs.suffixes) == {*IMAGES, *CATALOGUES}
    assert set(COSMOLOGY.inputs.suffixes) == set(MAPS)


def test_the_paper_s_preset_prepares_images_as_the_paper_does() -> None:
    steps = [step["kind"] for step in values("walmsley")["data"]["preparation"]["steps"]]
    assert steps == [
        "complete-bands",
        "stack",
        "background",
        "subtract-background",
        "mean-filter",
        "sigma-mask",
        "central-region",
        "apply-mask",
    ]
    assert values("walmsley")["front_end"] == {"crop_px": 256, "stretch": "log"}


def test_the_rivals_of_the_paper_s_network_keep_the_light_outside_the_mask() -> None:
    encoder = values("encoder")["data"]["preparation"]["steps"][-1]
    assert encoder == {"kind": "apply-mask", "keep_unmasked": True}
    assert not any("mask" in step["kind"] for step in values("timm")["data"]["preparation"]["steps"])


@pytest.mark.parametrize("preset", ["vit", "cvt"])
def test_the_cosmology_networks_are_trained_alike(preset: str) -> None:
    def others(name: str) -> dict[str, Any]:
        found = COSMOLOGY.preset_values(name)
        return {key: value for key, value in found.items() if key not in ("preset", "model", "optim")}

    assert others(preset) == others("cnn")
