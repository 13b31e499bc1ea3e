"""The pipelines for the sky; data only, imports no torch."""

from __future__ import annotations

from typing import Any

from tessera.core.pipeline import InputContract, Pipeline

_PARTS: dict[str, Any] = {  # what all pipelines for the sky are made of
    "domain": "astronomy",
    "transforms": "tessera.astronomy.transforms:SkyTransforms",
    "figures": "tessera.astronomy.figures:SkyFigures",
    "licence": "Apache-2.0",
}

TIDAL_FEATURES = Pipeline(
    name="tidal-features",
    summary="Find galaxies with streams, tails, shells and fans: a catalogue in, a catalogue out.",
    task="classification",
    **_PARTS,
    config="tessera.astronomy.config:SkyConfig",
    reader="tessera.astronomy.readers:SkyReader",
    read_options="tessera.astronomy.input_config:SkyInput",
    windows="tessera.astronomy.windows:SkyWindows",
    network="tessera.astronomy.networks:build_sky_network",
    writer="tessera.astronomy.writers:SkyWriter",
    predict_options="tessera.astronomy.output_config:SkyOutput",
    measures="tessera.astronomy.measures:tidal_measures",
    rivals="tessera.astronomy.rivals:run_rival",
    simulators={"tidal": "tessera.astronomy.simulate:simulate_tidal"},
    presets=("walmsley", "encoder", "timm", "stamps", "smoke"),
    manifests=("efigi_galaxies", "efigi_unlabelled"),
    inputs=InputContract(
        suffixes=(
            *(".fits", ".fit", ".fts", ".fits.fz", ".fits.gz", ".fit.gz", ".jpg", ".jpeg", ".png"),
            *(".csv", ".ecsv", ".vot", ".votable", ".xml", ".parquet", ".pq"),
        ),
        description="FITS cut-outs or mosaics in counts with their WCS, alone or with a catalogue of "
        "positions (FITS, VOTable, CSV, Parquet); colour pictures are read too, and marked as not "
        "photometric.",
    ),
    citation="Walmsley, Ferguson, Mann and Lintott, MNRAS 483 (2019) 2968, arXiv 1811.11616",
    intended_use="Ranking galaxies of a survey for visual inspection, with a stated completeness and purity.",
    limits="Scores of images of another depth, pixel scale or filter than the training data's mean little; "
    "purity depends on how rare tidal features are in the sample.",
)

COSMOLOGY = Pipeline(
    name="cosmology",
    summary="Cosmological parameters, with uncertainties, from maps of the matter density.",
    task="regression",
    **_PARTS,
    config="tessera.astronomy.config:DensityConfig",
    reader="tessera.astronomy.density_files:DensityReader",
    windows="tessera.astronomy.windows:DensityWindows",
    network="tessera.astronomy.networks:build_density_network",
    rivals="tessera.astronomy.density_rivals:run_density_rival",
    writer="tessera.astronomy.writers:SkyWriter",
    predict_options="tessera.astronomy.output_config:SkyOutput",
    simulators={"density-maps": "tessera.astronomy.simulate:simulate_density_maps"},
    presets=("cnn", "vit", "cvt", "encoder", "smoke"),
    manifests=("quijote_density",),
    inputs=InputContract(
        suffixes=(".fits", ".fit", ".fits.gz", ".npz"),
        description="Square maps of projected density, one FITS file a map, or rows of an NPZ file of bytes.",
    ),
    citation="Gondhalekar and Moriwaki 2024, arXiv 2411.14392; Villaescusa-Navarro et al. (CAMELS, Quijote)",
    intended_use="Testing how much of the cosmological parameters simulated maps hold.",
    limits="It knows the simulations it learnt from: other codes, boxes, pixel sizes, redshifts or noise "
    "need new training; uncertainties are trusted only as far as their coverage in this card says.",
)

PIPELINES = (TIDAL_FEATURES, COSMOLOGY)
