"""The pipeline for masks; data only, imports no torch."""

from __future__ import annotations

from tessera.core.pipeline import InputContract, Pipeline

MASKS = Pipeline(
    name="minimal-masks",
    domain="minimal_masks",
    summary="Find discs and squares on noisy planes; the smallest pipeline of masks there can be, for tests.",
    task="segmentation",
    config="tessera.minimal_masks.config:MasksConfig",
    reader="tessera.minimal_masks.planes:PlaneReader",
    windows="tessera.minimal_masks.planes:PlaneWindows",
    network="tessera.minimal_masks.networks:build_network",
    transforms="tessera.minimal_masks.networks:build_transforms",
    writer="tessera.minimal_masks.outputs:PlaneWriter",
    figures="tessera.minimal_masks.outputs:PlaneFigures",
    scores="tessera.minimal_masks.outputs:PlaneScores",
    simulators={"discs": "tessera.minimal_masks.simulate:simulate_discs"},
    presets=("smoke",),
    inputs=InputContract(suffixes=(".npy",), description="Planes (H, W) of numbers without a unit."),
    citation="Isensee et al. 2021 (nnU-Net), doi:10.1038/s41592-020-01008-z",
    licence="Apache-2.0",
    intended_use="Tests of the core.",
    limits="Not for answers that matter.",
)

PIPELINES = (MASKS,)
