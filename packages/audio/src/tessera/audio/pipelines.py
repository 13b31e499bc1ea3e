"""The pipelines for sound; data only, imports no torch."""

from __future__ import annotations

from tessera.core.pipeline import InputContract, Pipeline

SOUND = Pipeline(
    name="sound",
    domain="audio",
    summary="Label recordings: animal calls, environmental sounds, spoken words, per clip and per window.",
    task="classification",
    config="tessera.audio.config:SoundConfig",
    reader="tessera.audio.readers:SoundReader",
    windows="tessera.audio.windows:SoundWindows",
    network="tessera.audio.networks:build_network",
    transforms="tessera.audio.transforms:SoundTransforms",
    writer="tessera.audio.writers:SoundWriter",
    figures="tessera.audio.figures:SoundFigures",
    predict_options="tessera.audio.output_config:SoundOutput",
    labels="tessera.audio.selection_labels:SelectionLabels",
    simulators={"sound-scenes": "tessera.audio.simulate:simulate_sound_scenes"},
    presets=(
        "crnn",
        "crnn-paper",
        "cqt",
        "encoder",
        "digits",
        "scenes",
        "m3",
        "m5",
        "m11",
        "m18",
        "m34-res",
        "k2c2",
        "k2c1",
        "k1c2",
        "tf",
        "tdnn",
        "smoke",
    ),
    manifests=("esc10", "fsdd", "bioacoustic_samples"),
    inputs=InputContract(
        suffixes=(".wav", ".flac", ".ogg", ".oga", ".opus", ".mp3", ".aif", ".aiff"),
        description="Recordings at any sample rate and channel count, full scale = 1.",
    ),
    citation="Choi et al. 2017 (CRNN, k-nets), arXiv:1609.04243; "
    "Dai et al. 2017 (M3 to M34), arXiv:1610.00087; Huzaifah 2017 (tf), arXiv:1706.07156; "
    "Wang et al. 2022 (EfficientTDNN), arXiv:2103.13581",
    licence="Apache-2.0",
    intended_use="Finding and naming sounds of the classes it was trained on, in recordings like those.",
    limits="Scores of sounds, places or recorders unlike the training data mean little; "
    "not for identifying people or for medical use.",
)

PIPELINES = (SOUND,)
