"""The backbone as a network for sound, and its gates in the networks of the papers."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from tessera.audio.config import SoundConfig
from tessera.audio.networks import build_network
from tessera.audio.windows import SoundWindows
from tessera.core.backbone_config import PLUG_NAMES
from tessera.core.config import dump_yaml, loads_yaml, validate
from tessera.core.errors import ConfigError

ENCODER: dict[str, Any] = {
    "stem_width": 8,
    "stem_pool": None,
    "widths": [8, 16],
    "depths": [1, 1],
    "strides": [1, 2],
}
SHORT = {"sample_rate_hz": 8000, "window_s": 0.5}
MEL = {"kind": "mel", "n_fft": 256, "hop": 128, "n_mels": 24}
CRNN = {"kind": "crnn", "widths": [8, 8], "pools": [[4, 4], [4, 4]], "rnn": [8]}
WAVEFORM = {"kind": "waveform"}


def configure(**sections: Any) -> SoundConfig:
    return validate(
        SoundConfig, {"pipeline": "sound", "preset": "test", "data": SHORT, **sections}, source="preset test"
    )


def encoder(**options: Any) -> dict[str, Any]:
    return {"kind": "encoder", "encoder": ENCODER | options}


def answer(config: SoundConfig) -> nn.Module:
    network = build_network(config, n_outputs=3).eval()
    with torch.inference_mode():
        output = network(torch.randn(2, *SoundWindows(config).input_shape))
    assert output.shape == (2, 3)
    assert output.isfinite().all()
    return network.body


@pytest.mark.parametrize(
    "features",
    [MEL, {**MEL, "kind": "linear", "n_mels": None}, {**MEL, "kind": "mfcc", "n_mfcc": 13}, WAVEFORM],
    ids=lambda features: features["kind"],
)
def test_the_encoder_hears_every_front_end(features: dict[str, Any]) -> None:
    chosen = {name: value for name, value in features.items() if value is not None}
    body = answer(configure(features=chosen, model=encoder()))
    kinds = {type(module) for module in body.modules()}
    one, two = nn.Conv1d in kinds, nn.Conv2d in kinds
    assert (one, two) == ((True, False) if features["kind"] == "waveform" else (False, True))


def test_the_encoder_of_sound_is_resnet18_by_default() -> None:
    """11,176,512 weights before the classes (torchvision), less 2 x 64 filters of 7 x 7 in the stem."""
    config = configure(features=MEL, model={"kind": "encoder"})
    count = sum(p.numel() for p in build_network(config, n_outputs=3).parameters())
    assert count == 11_176_512 - 2 * 64 * 49 + 3 * 513


@pytest.mark.parametrize("gate", PLUG_NAMES["gate"])
@pytest.mark.parametrize("features", [MEL, WAVEFORM], ids=["mel", "waveform"])
def test_every_gate_serves_in_the_encoder(features: dict[str, Any], gate: str) -> None:
    answer(configure(features=features, model=encoder(gate=gate)))


@pytest.mark.parametrize("gate", sorted({*PLUG_NAMES["gate"]} - {"ge", "ge_plus"}))
@pytest.mark.parametrize(
    ("features", "model"), [(MEL, CRNN), (WAVEFORM, {"kind": "m3"}), (WAVEFORM, {"kind": "m34-res"})]
)
def test_every_gate_serves_in_the_papers_networks(
    features: dict[str, Any], model: dict[str, Any], gate: str
) -> None:
    plain = answer(configure(features=features, model=model))
    gated = answer(configure(features=features, model={**model, "gate": gate}))
    added = sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in plain.parameters())
    assert (added > 0) == (gate not in ("identity", "ge_minus"))  # those have no weights


@pytest.mark.parametrize("gate", ["ge", "ge_plus"])
@pytest.mark.parametrize(("features", "model"), [(MEL, CRNN), (WAVEFORM, {"kind": "m3"})])
def test_a_gate_for_one_size_of_map_is_refused_where_the_size_is_open(
    features: dict[str, Any], model: dict[str, Any], gate: str
) -> None:
    config = configure(features=features, model={**model, "gate": gate})
    with pytest.raises(ConfigError, match=rf"this {model['kind']} cannot be built(?s:.*)gate {gate}"):
        build_network(config, n_outputs=3)
    answer(configure(features=features, model={**model, "gate": {"kind": gate, "extent": 2}}))


def test_options_of_a_gate_reach_it() -> None:
    """SE with ratio 4 on the CRNN's two maps of 8 channels: 8 x 2 + 2 + 2 x 8 + 8 weights each."""
    plain = answer(configure(features=MEL, model=CRNN))
    gated = answer(configure(features=MEL, model={**CRNN, "gate": {"kind": "se", "ratio": 4}}))
    added = sum(p.numel() for p in gated.parameters()) - sum(p.numel() for p in plain.parameters())
    assert added == 2 * (8 * 2 + 2 + 2 * 8 + 8)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"features": MEL, "model": {**CRNN, "gate": "cbam"}}, "there is no gate 'cbam'"),
        ({"features": MEL, "model": {**CRNN, "gate": ["se", "eca"]}}, "model.gate"),
        ({"features": MEL, "model": encoder(gait="se")}, "unknown field model.encoder.gait"),
        ({"features": WAVEFORM, "model": CRNN}, "crnn needs features of kind: mel, mfcc"),
        ({"features": MEL, "model": {"kind": "m3"}}, "m3 needs features of kind: waveform"),
        (
            {
                "features": WAVEFORM,
                "model": {"kind": "encoder", "encoder": {"kind": "timm", "name": "resnet18"}},
            },
            "resnet18 of timm needs features",
        ),
    ],
)
def test_what_cannot_work_is_refused_by_the_config(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(**sections)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({**CRNN, "gate": {"kind": "se", "reduction": 4}}, "this crnn cannot be built(?s:.*)reduction"),
        ({**CRNN, "gate": {"kind": "ulsam", "groups": 3}}, "8 channels do not split into 3 groups"),
        (encoder(gate={"kind": "eca", "kernel": 4}), "an odd number"),
    ],
)
def test_what_only_the_gate_knows_is_refused_when_it_is_built(model: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        build_network(configure(features=MEL, model=model), n_outputs=3)


def test_log_polar_maps_pictures_but_no_waveform() -> None:
    answer(configure(features=MEL, model=encoder(input_map="log_polar")))
    with pytest.raises(ConfigError, match="log_polar"):
        build_network(configure(features=WAVEFORM, model=encoder(input_map="log_polar")), n_outputs=3)


def test_a_timm_encoder_hears_a_picture_of_one_channel() -> None:
    pytest.importorskip("timm")
    model = {"kind": "encoder", "encoder": {"kind": "timm", "name": "resnet10t"}}
    answer(configure(features={**MEL, "n_mels": 64}, data=SHORT | {"window_s": 1.0}, model=model))


@pytest.mark.parametrize("model", [encoder(gate=["se", "eca"]), {**CRNN, "gate": {"kind": "se", "ratio": 4}}])
def test_plugs_survive_the_runs_complete_yaml(model: dict[str, Any]) -> None:
    config = configure(features=MEL, model=model)
    again = loads_yaml(dump_yaml(config.model_dump(mode="json")))
    assert validate(SoundConfig, again, source="config.yaml") == config


@pytest.mark.slow
@pytest.mark.parametrize("features", [MEL, WAVEFORM], ids=["mel", "waveform"])
def test_the_encoder_learns_two_tones(features: dict[str, Any]) -> None:
    config = configure(features=features, model=encoder(gate="eca"))
    torch.manual_seed(0)
    network = build_network(config, n_outputs=2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    (length,) = SoundWindows(config).input_shape[1:]
    time_s = torch.arange(length) / 8000
    target = torch.tensor([0, 1] * 8)
    for _ in range(20):
        pitch_hz = torch.tensor([400.0, 1500.0])[target] * torch.empty(16).uniform_(0.9, 1.1)
        tones = torch.sin(2 * math.pi * pitch_hz[:, None] * time_s)[:, None]
        loss = nn.functional.cross_entropy(network(tones + 0.1 * torch.randn_like(tones)), target)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert float(loss.detach()) < 0.1
