"""Configs of the filter banks: what they build, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from tessera.audio.config import SoundConfig
from tessera.audio.features import FilterBank
from tessera.audio.networks import build_network
from tessera.audio.picture_config import PictureConfig
from tessera.audio.windows import SoundWindows
from tessera.core.config import validate
from tessera.core.errors import ConfigError

SMALL = {"kind": "crnn", "widths": [8], "pools": [[4, 4]], "rnn": [8]}


def configure(**sections: Any) -> SoundConfig:
    sections = {"model": SMALL, "data": {"sample_rate_hz": 8000, "window_s": 1.0}, **sections}
    return validate(SoundConfig, {"pipeline": "sound", "preset": "test", **sections}, source="preset test")


@pytest.mark.parametrize(
    ("features", "rows"),
    [
        ({"kind": "cqt", "f_min_hz": 60, "n_bins": 48}, 48),
        ({"kind": "cqt", "f_min_hz": 60, "n_bins": 48, "frame": 1, "pad_mode": "reflect"}, 48),
        ({"kind": "cwt", "n_bands": 40}, 40),
        ({"kind": "gammatone", "n_bands": 40, "normalize": "per_clip_minmax"}, 40),
        ({"kind": "gammatone", "n_bands": 20, "phase": "gammatone"}, 30),
        ({"kind": "gammatone", "n_bands": 20, "phase": "stft", "phase_rows": 3, "frame": 128}, 26),
    ],
)
def test_a_bank_has_the_promised_rows_span_and_a_network(features: dict[str, Any], rows: int) -> None:
    config = configure(features=features)
    front_end = config.features.build(8000)
    assert isinstance(front_end, FilterBank)
    assert front_end(torch.randn(1, 1, 8000)).shape == (1, 1, rows, 1 + 8000 // 512)
    assert config.features.rows() == rows
    assert isinstance(config.features, PictureConfig)
    least, why = config.features.least_samples(8000)
    assert least == front_end.n_fft
    assert config.features.kind in why
    with torch.inference_mode():
        output = build_network(config, n_outputs=3).eval()(torch.randn(2, *SoundWindows(config).input_shape))
    assert output.shape == (2, 3)
    assert output.isfinite().all()


def test_an_average_covers_the_hop_and_the_highest_band_lies_below_half_the_rate_unless_told() -> None:
    front_end = configure(features={"kind": "cwt", "hop": 300}).features.build(8000)
    assert isinstance(front_end, FilterBank)
    assert front_end.frame == 300
    assert front_end.centres_hz[-1] == pytest.approx(3600.0)


@pytest.mark.parametrize(
    ("features", "words"),
    [
        ({"kind": "cqt", "n_bins": 96}, "n_bins 96 reaches up to 7902 Hz, not below half"),
        ({"kind": "cqt", "f_min_hz": 2000, "n_bins": 13}, "reaches up to 4000 Hz"),
        ({"kind": "cqt", "f_min_hz": 10, "n_bins": 90}, "window_s holds 8000 samples; the lowest band of"),
        ({"kind": "cqt", "f_min_hz": 60, "filter_scale": 4, "n_bins": 40}, "features: cqt needs"),
        ({"kind": "cwt", "f_max_hz": 4001}, "above half of data.sample_rate_hz, 4000 Hz"),
        ({"kind": "cwt", "f_min_hz": 3700}, "f_min_hz 3700 is not below the highest band, 3600 Hz"),
        ({"kind": "gammatone", "f_min_hz": 500, "f_max_hz": 500}, "f_min_hz 500 is not below f_max_hz 500"),
        ({"kind": "cwt", "f_min_hz": 1}, "the lowest band of features: cwt needs"),
        (
            {"kind": "gammatone", "phase": "gammatone", "n_bands": 4},
            "phase_rows 5 is more than the n_bands 4",
        ),
        (
            {"kind": "gammatone", "phase": "stft", "frame": 6},
            "phase_rows 5 is more than the 4 bins of a frame",
        ),
        ({"kind": "cwt", "omega": 3}, "greater than or equal to 5"),
        ({"kind": "linear", "n_fft": 64, "n_bands": 34}, "n_bands 34 is more than the 33 bins of n_fft 64"),
    ],
)
def test_what_cannot_work_is_refused_with_the_reason(features: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        configure(features=features)
    assert words in str(caught.value)
