"""The pipelines for volumes; data only, imports no torch."""

from __future__ import annotations

from typing import Any

from tessera.core.pipeline import InputContract, Pipeline

_PARTS: dict[str, Any] = {  # what all pipelines on volumes are made of
    "domain": "medical",
    "task": "segmentation",
    "reader": "tessera.medical.readers:VolumeReader",
    "writer": "tessera.medical.writers:VolumeWriter",
    "figures": "tessera.medical.figures:VolumeFigures",
    "predict_options": "tessera.medical.output_config:VolumeOutput",
    "pairs": "tessera.medical.make:pair_volumes",
    "configure": "tessera.medical.configure:configure",
    "example": "tessera.medical.configure:example",
    "explain": "tessera.medical.configure:explain",
    "simulators": {
        "airway": "tessera.medical.simulate:simulate_airway",
        "airway-small": "tessera.medical.simulate:simulate_small_airway",
    },
    "licence": "Apache-2.0",
}

VOLUMES = Pipeline(
    name="volumes",
    summary="Segment scans: any labels, any spacing; the network is planned from your own volumes.",
    **_PARTS,
    config="tessera.medical.config:VolumeConfig",
    windows="tessera.medical.windows:VolumeWindows",
    network="tessera.medical.networks:build_volume_network",
    transforms="tessera.medical.transforms:VolumeTransforms",
    scores="tessera.medical.scores:build_volume_scores",
    presets=("unet", "resenc", "umamba-bot", "umamba-enc", "no-mamba", "hiformer", "smoke"),
    manifests=("hippocampus_mri",),
    inputs=InputContract(
        suffixes=(".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm"),
        description="Volumes with their place in space (NIfTI, NRRD, MHA, DICOM series), CT in Hounsfield "
        "units; masks come back on the same voxels.",
    ),
    citation=(
        "Isensee et al., nnU-Net, Nature Methods 18 (2021), and arXiv 2404.09556 (plain and residual U-Net); "
        "Ma et al., U-Mamba, arXiv 2401.04722; Heidari et al., HiFormer, arXiv 2207.08518."
    ),
    intended_use="Research, and measuring with a model that was evaluated on scans like yours.",
    limits="No medical device: nobody may be diagnosed or treated by its output. Accuracy is that of the "
    "evaluation in this card, on its data; other scanners, protocols and patients need a new evaluation.",
)

AIRWAY = Pipeline(
    name="airway",
    summary="Segment the airway tree in chest CT and measure its branches.",
    **_PARTS
    | {
        "writer": "tessera.medical.airway_writer:AirwayWriter",
        "predict_options": "tessera.medical.output_config:AirwayOutput",
    },
    config="tessera.medical.config:AirwayConfig",
    windows="tessera.medical.airway_windows:AirwayWindows",
    network="tessera.medical.networks:build_airway_network",
    transforms="tessera.medical.transforms:AirwayTransforms",
    scores="tessera.medical.scores:build_airway_scores",
    presets=("airwaynet", "tubule", "unet", "smoke"),
    inputs=InputContract(
        suffixes=(".nii", ".nii.gz", ".nrrd", ".nhdr", ".mha", ".mhd", ".dcm"),
        description="Chest CT in Hounsfield units, slices of 1.5 mm or less for small airways.",
    ),
    citation=(
        "Qin et al., AirwayNet, arXiv 1907.06852; Qin et al., Learning Tubule-Sensitive CNNs, arXiv "
        "2012.05767; Isensee et al., nnU-Net, Nature Methods 18 (2021); measures: Zhang et al., ATM'22, "
        "arXiv 2303.05745."
    ),
    intended_use="Research on airways in inspiratory chest CT.",
    limits="No medical device: nobody may be diagnosed or treated by its output. Presets are tested on "
    "simulated phantoms; models need training and evaluation on labelled scans of patients before they say "
    "anything of patients.",
)

PIPELINES = (VOLUMES, AIRWAY)
