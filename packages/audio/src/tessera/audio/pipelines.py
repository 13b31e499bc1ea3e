"""The pipelines for sound; data only, imports no torch."""

from __future__ import annotations

from typing import Any

from tessera.core.pipeline import InputContract, Pipeline

_PARTS: dict[str, Any] = {  # what all pipelines on recordings are made of
    "domain": "audio",
    "config": "tessera.audio.config:SoundConfig",
    "reader": "tessera.audio.readers:SoundReader",
    "windows": "tessera.audio.windows:SoundWindows",
    "network": "tessera.audio.networks:build_network",
    "transforms": "tessera.audio.transforms:SoundTransforms",
    "writer": "tessera.audio.writers:SoundWriter",
    "figures": "tessera.audio.figures:SoundFigures",
    "licence": "Apache-2.0",
}

SOUND = Pipeline(
    name="sound",
    summary="Label recordings: animal calls, environmental sounds, spoken words, per clip and per window.",
    task="classification",
    **_PARTS,
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
    intended_use="Finding and naming sounds of the classes it was trained on, in recordings like those.",
    limits="Scores of sounds, places or recorders unlike the training data mean little; "
    "not for identifying people or for medical use.",
)

ROOM_ACOUSTICS = Pipeline(
    name="room-acoustics",
    summary="Measure a room by its reverberant sound: reverberation time T30, or volume.",
    task="regression",
    **_PARTS,
    simulators={"reverberant-sounds": "tessera.audio.simulate:simulate_reverberant_sounds"},
    presets=("encoder", "crnn", "transformer", "smoke"),
    inputs=InputContract(
        suffixes=SOUND.inputs.suffixes,
        description="Recordings of sounds in a room, at any sample rate and channel count, full scale = 1.",
    ),
    citation="Wang et al. 2024 (transformer), arXiv:2309.13504; Gong et al. 2021 (its network), "
    "arXiv:2104.01778; Choi et al. 2017 (CRNN), arXiv:1609.04243; ISO 3382-1:2009 (T30)",
    intended_use="A first estimate of a room's reverberation time from recorded speech or other sounds.",
    limits="No substitute for a measurement after ISO 3382; rooms, sounds and noise unlike the training data "
    "mislead it, and so does a source very close to the microphone.",
)

SPEAKER = Pipeline(
    name="speaker",
    summary="Tell speakers apart by a voice's embedding, also speakers that were never heard in training.",
    task="classification",
    **_PARTS,
    predict_options="tessera.audio.output_config:SoundOutput",
    simulators={"simulated-voices": "tessera.audio.simulate:simulate_voices"},
    presets=("tdnn", "supernet", "digits", "smoke"),
    inputs=InputContract(
        suffixes=SOUND.inputs.suffixes,
        description="Recordings of one voice each, at any sample rate and channel count, full scale = 1.",
    ),
    citation="Wang et al. 2022 (EfficientTDNN), arXiv:2103.13581",
    intended_use="Research on voices: are two recordings of one speaker, among speakers who agreed to it.",
    limits="Not for identifying people without their consent, for access control or as evidence; error rates "
    "grow with noise, short recordings and voices unlike those it was trained on.",
)

PIPELINES = (SOUND, ROOM_ACOUSTICS, SPEAKER)
