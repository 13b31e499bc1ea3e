"""The pipeline for images; data only, imports no torch."""

from __future__ import annotations

from tessera.core.pipeline import InputContract, Pipeline

IMAGES = Pipeline(
    name="minimal-images",
    domain="minimal_images",
    summary="Label whole images; the smallest pipeline there can be, for tests and studies of the backbone.",
    task="classification",
    config="tessera.minimal_images.config:ImagesConfig",
    reader="tessera.minimal_images.images:ImageReader",
    windows="tessera.minimal_images.images:WholeImage",
    network="tessera.minimal_images.networks:build_network",
    transforms="tessera.minimal_images.networks:ImageTransforms",
    writer="tessera.minimal_images.images:ImageWriter",
    figures="tessera.minimal_images.images:ImageFigures",
    presets=("gates", "smoke"),
    inputs=InputContract(
        suffixes=(".png", ".jpg", ".jpeg"), description="Images of any size, grey or in colour."
    ),
    citation="He et al. 2016 (ResNet), arXiv:1512.03385",
    licence="Apache-2.0",
    intended_use="Tests of the core, and comparisons of blocks of the backbone.",
    limits="Not for answers that matter.",
)

PIPELINES = (IMAGES,)
