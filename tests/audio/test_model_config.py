"""Networks for sound by their config: the k-nets, the nets on pictures of one size, the TDNN, any by name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import nn

from tessera.audio.config import SoundConfig
from tessera.audio.model_config import CRNNConfig, KNetConfig, MNetConfig, TDNNConfig, TFNetConfig
from tessera.audio.networks import build_network
from tessera.audio.windows import SoundWindows
from tessera.core.config import dump_yaml, loads_yaml, validate
from tessera.core.errors import ConfigError

SHORT = {"sample_rate_hz": 8000, "window_s": 0.5}
MEL = {"kind": "mel", "n_fft": 256, "hop": 128, "n_mels": 24}
WAVEFORM = {"kind": "waveform"}
K2C2 = {"kind": "k2c2", "widths": [4, 6], "pools": [[4, 4], [3, 2]]}
K2C1 = {"kind": "k2c1", "widths": [4, 6], "pools": [[1, 4], [1, 4]]}
K1C2 = {"kind": "k1c2", "widths": [4, 6], "pools": [[1, 4], [1, 4]]}
TF = {"kind": "tf", "size": [12, 10], "hidden": 8}
TDNN = {"kind": "efficient-tdnn", "widths": [16, 8, 16], "kernels": [5, 3, 1], "concat": 12, "embedding": 9}
REFERENCE = {"kind": "reference", "name": "mobilevit-xxs"}


def configure(**sections: Any) -> SoundConfig:
    return validate(
        SoundConfig,
        {"pipeline": "sound", "preset": "test", "data": SHORT, "features": MEL, **sections},
        source="test",
    )


@pytest.fixture(autouse=True)
def same_weights_each_time() -> Iterator[None]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def count(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(
    "model",
    [K2C2, K2C1, K1C2, TF, {**TF, "filters": "vertical", "layers": 5}, TDNN, REFERENCE],
    ids=lambda model: model["kind"],
)
def test_each_network_answers_for_its_window_and_survives_its_yaml(model: dict[str, Any]) -> None:
    config = configure(model=model)
    network = build_network(config, n_outputs=3).eval()
    with torch.inference_mode():
        output = network(torch.randn(2, *SoundWindows(config).input_shape))
    assert output.shape == (2, 3)
    assert output.isfinite().all()
    again = loads_yaml(dump_yaml(config.model_dump(mode="json")))
    assert validate(SoundConfig, again, source="config.yaml") == config


def test_a_network_by_name_hears_the_waveform_too() -> None:
    config = configure(features=WAVEFORM, model={"kind": "reference", "name": "ghostnet-0.5"})
    with torch.inference_mode():
        output = build_network(config, n_outputs=3).eval()(torch.randn(1, 1, 4000))
    assert output.shape == (1, 3)


@pytest.mark.parametrize(
    ("config", "total"),
    [
        (KNetConfig(kind="k2c2", input_bn="none"), 865_950 - 2 * 1366),
        (KNetConfig(kind="k2c1", input_bn="none"), 507_024 - 2 * 1366),
        (KNetConfig(kind="k1c2", input_bn="none"), 460_228 - 2 * 1366),
        (CRNNConfig(), 394_290),
        (TFNetConfig(), 18_762_650),
        (TFNetConfig(filters="vertical", layers=5, hidden=400), 539_762),
    ],
)
def test_defaults_are_the_papers(config: Any, total: int) -> None:
    with torch.device("meta"):
        assert count(config.build_for((1, 96, 1366), 50)) == total


def test_the_tdnns_default_is_the_base_network_with_classes_behind_it() -> None:
    with torch.device("meta"):
        assert count(TDNNConfig().build_for((1, 80, 300), 50)) == 5_789_760 + 193 * 50


@pytest.mark.parametrize("budget", [100_000, 1_000_000])
@pytest.mark.parametrize(
    "config",
    [CRNNConfig(rnn=(64, 64)), *(KNetConfig(kind=kind) for kind in ("k2c2", "k2c1", "k1c2"))],
    ids=lambda config: config.kind,
)
def test_a_budget_scales_the_widths(config: CRNNConfig | KNetConfig, budget: int) -> None:
    """0.1 and 1 M as in the paper, within its 2 %."""
    scaled = config.model_copy(update={"parameters": budget})
    with torch.device("meta"):
        assert count(scaled.build_for((1, 96, 1366), 50)) == pytest.approx(budget, rel=0.02)


def test_the_head_fc_of_an_m_net_is_built_for_the_window() -> None:
    with torch.device("meta"):
        assert count(MNetConfig(kind="m5", head="fc").build_for((1, 32_000), 10)) == 17_437_994


@pytest.mark.parametrize("model", [K2C2, K2C1, K1C2, TF, TDNN], ids=lambda model: model["kind"])
def test_a_waveform_is_no_picture(model: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"model {model['kind']} needs features of kind: mel"):
        configure(features=WAVEFORM, model=model)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({**K2C2, "pools": [[4, 4]]}, "2 widths and 1 pools"),
        ({**K2C2, "pools": [[4, 4], [8, 2]]}, "leave no frequency band"),
        ({"kind": "k2c1"}, "model.pools need 1280 frames, a window has 32"),
        ({"kind": "k2c2", "widths": [5], "pools": [[1, 4]], "parameters": 1018}, "nearest are 975 and 1,059"),
        ({**TDNN, "widths": [16, 8]}, "2 widths and 3 kernels"),
        ({**TDNN, "widths": [16, 8, 12]}, "not all multiples of 8"),
        ({"kind": "reference", "name": "efficient-tdnn"}, "it serves 1"),
    ],
)
def test_what_only_the_network_knows_is_an_error_of_the_config(model: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build_network(configure(model=model), n_outputs=3)
    assert "cannot be built" in caught.value.problem
    assert words in str(caught.value)


def test_a_misspelt_name_of_a_network_is_told() -> None:
    with pytest.raises(ConfigError, match="did you mean mobilevit-s"):
        configure(model={"kind": "reference", "name": "mobilevit_s"})


@pytest.mark.slow
@pytest.mark.parametrize(
    "model", [K2C2, K2C1, K1C2, TF, {**TF, "filters": "vertical"}, TDNN], ids=lambda model: model["kind"]
)
def test_each_network_learns_two_tones(model: dict[str, Any]) -> None:
    quiet = {"dropout": 0.0} if "tdnn" not in model["kind"] else {}
    network = build_network(configure(model={**model, **quiet}), n_outputs=2)
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-2)
    time_s = torch.arange(4000) / 8000
    target = torch.tensor([0, 1] * 8)
    for _ in range(40):
        pitch_hz = torch.tensor([400.0, 1500.0])[target] * torch.empty(16).uniform_(0.9, 1.1)
        tones = torch.sin(2 * torch.pi * pitch_hz[:, None] * time_s)[:, None]
        loss = nn.functional.cross_entropy(network(tones + 0.1 * torch.randn_like(tones)), target)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
    assert float(loss.detach()) < 0.2
