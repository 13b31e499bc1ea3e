from __future__ import annotations

from typing import Any, get_args

import pytest
import torch

from tessera.audio.config import SoundConfig
from tessera.audio.model_config import MNetConfig
from tessera.audio.models.m_nets import MNet
from tessera.audio.networks import build_network
from tessera.audio.pipelines import SOUND
from tessera.audio.windows import SoundWindows
from tessera.core.config import dump_yaml, loads_yaml, merge, validate
from tessera.core.errors import ConfigError

M5 = {"features": {"kind": "waveform"}, "model": {"kind": "m5"}}


def configure(**sections: Any) -> SoundConfig:
    return validate(SoundConfig, {"pipeline": "sound", "preset": "test", **sections}, source="preset test")


@pytest.fixture(autouse=True)
def same_weights_each_time() -> Any:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@pytest.mark.parametrize("preset", SOUND.presets)
def test_each_preset_makes_a_network_that_answers(preset: str) -> None:
    config = validate(SoundConfig, SOUND.preset_values(preset), source=preset)
    network = build_network(config, n_outputs=7).eval()
    with torch.inference_mode():
        output = network(torch.randn(2, *SoundWindows(config).input_shape))
    assert output.shape == (2, 7)
    assert output.isfinite().all()


@pytest.mark.parametrize("preset", SOUND.presets)
def test_each_preset_is_rebuilt_from_its_complete_yaml(preset: str) -> None:
    config = validate(SoundConfig, SOUND.preset_values(preset), source=preset)
    assert validate(SoundConfig, loads_yaml(dump_yaml(config.model_dump(mode="json"))), source="") == config


@pytest.mark.parametrize(
    ("features", "rows"),
    [
        ({"kind": "linear", "n_fft": 256}, 129),
        ({"kind": "linear", "n_fft": 256, "n_bands": 50}, 50),
        ({"kind": "mel", "n_mels": 64}, 64),
        ({"kind": "mfcc", "n_mfcc": 30, "n_mels": 40}, 30),
    ],
)
def test_the_features_have_the_promised_rows_and_frames(features: dict[str, Any], rows: int) -> None:
    config = configure(features=features, model={"kind": "crnn", "widths": [8], "pools": [[4, 4]]})
    picture = config.features.build(config.data.sample_rate_hz)(torch.randn(1, 1, 16_000))
    assert config.features.rows() == rows
    assert picture.shape == (1, 1, rows, 1 + 16_000 // 512)


@pytest.mark.parametrize("kind", get_args(MNetConfig.model_fields["kind"].annotation))
def test_the_least_window_is_what_the_network_accepts(kind: str) -> None:
    config = MNetConfig(kind=kind)
    network = config.build_for((1, config.least_samples), 2)
    assert isinstance(network, MNet)
    assert network.min_samples == config.least_samples
    with torch.inference_mode():
        assert network.eval()(torch.randn(1, 1, config.least_samples)).shape == (1, 2)
    rate = 8000
    for samples in (config.least_samples, config.least_samples - 1):
        sections = {
            "features": {"kind": "waveform"},
            "model": {"kind": kind},
            "data": {"sample_rate_hz": rate, "window_s": samples / rate},
        }
        if samples == config.least_samples:
            configure(**sections)
            continue
        with pytest.raises(ConfigError, match="do not fit") as caught:
            configure(**sections)
        assert f"model {kind} needs {config.least_samples}" in str(caught.value)


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"model": {"kind": "m5"}}, "model m5 needs features of kind: waveform"),
        ({"features": {"kind": "waveform"}}, "model crnn needs features of kind: mel, mfcc, linear"),
        (
            {"features": {"kind": "mel", "f_min_hz": 500, "f_max_hz": 500}},
            "f_min_hz 500 is not below f_max_hz 500",
        ),
        ({"features": {"kind": "mel", "f_max_hz": 8001}}, "above half of data.sample_rate_hz, 8000 Hz"),
        (
            {"features": {"kind": "mfcc", "n_mfcc": 96, "f_min_hz": 8000}},
            "above half of data.sample_rate_hz, 8000 Hz",
        ),
        ({"features": {"kind": "mfcc", "n_mfcc": 41, "n_mels": 40}}, "n_mfcc 41 is more than n_mels 40"),
        ({"features": {"kind": "mel", "n_mels": 95}}, "model.pools leave nothing of the 95 rows"),
        ({"features": {"kind": "mfcc", "n_mfcc": 20}}, "model.pools leave nothing of the 20 rows"),
        ({"model": {"kind": "crnn", "widths": [8, 8]}}, "2 widths and 4 pools"),
        (
            {"features": {"kind": "mel", "pad_mode": "reflect"}, "data": {"window_s": 0.032}},
            "512 samples; n_fft 1024",
        ),
        ({"augment": {"mask_count": [2], "mask_width": [0.1]}}, "two numbers, for frequency and time"),
        ({"augment": {"mask_count": [2, 2], "mask_width": [0.1]}}, "two numbers"),
        ({"augment": {"mask_count": [2, 2]}}, "two numbers"),
        (
            {**M5, "augment": {"mask_count": [2, 2], "mask_width": [0.1, 0.1]}},
            "one number each for features: waveform",
        ),
        ({"augment": {"noise_snr_db": [30, 10]}}, "noise_snr_db [30.0, 10.0] is not [lowest, highest]"),
        ({"augment": {"noise_snr_db": [30]}}, "none was given"),
        ({"data": {"channel": -1}}, "'mean' or greater than or equal to 0"),
        ({"data": {"sample_rate": 8000}}, "did you mean sample_rate_hz?"),
        (
            {"features": {"kind": "mels"}},
            "one of 'linear', 'mel', 'mfcc', 'cqt', 'cwt', 'gammatone', 'waveform', not 'mels'",
        ),
        ({"features": {"kind": "linear", "n_mels": 3}}, "unknown field features.n_mels"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(sections: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(**sections)
    assert caught.value.problem.startswith("preset test: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "sections",
    [
        {"features": {"kind": "mel", "f_max_hz": 8000, "f_min_hz": 7999}},
        {
            "features": {"kind": "mfcc", "n_mfcc": 40, "n_mels": 40},
            "model": {"kind": "crnn", "widths": [8], "pools": [[2, 2]]},
        },
        {"features": {"kind": "mel", "n_mels": 96}},
        {"features": {"kind": "mel", "pad_mode": "reflect"}, "data": {"window_s": 0.0321}},
        {"features": {"kind": "mel"}, "data": {"window_s": 0.01}},
        {"augment": {"mask_count": [0, 2], "mask_width": [0.0, 0.1]}},
        {"augment": {"noise_snr_db": [10, 10]}},
        {**M5, "augment": {"mask_count": [2], "mask_width": [0.1]}},
        {"data": {"channel": 1}},
    ],
)
def test_what_just_works_gives_an_answer(sections: dict[str, Any]) -> None:
    config = configure(**sections)
    with torch.inference_mode():
        output = build_network(config, n_outputs=3).eval()(torch.randn(1, *SoundWindows(config).input_shape))
    assert output.isfinite().all()


def test_another_model_kind_drops_the_old_models_fields() -> None:
    values, notices = merge(SOUND.preset_values("crnn"), M5)
    assert len(notices) == 2
    with pytest.raises(ConfigError, match="do not fit"):  # its masks are for pictures
        validate(SoundConfig, values, source="preset crnn")
    values, _ = merge(values, {"augment": {"mask_count": [], "mask_width": []}})
    assert validate(SoundConfig, values, source="preset crnn").model == MNetConfig(kind="m5")
