"""U-Mamba against the counts of both released versions, and its Mamba layer against the recurrence."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.core.backbone.macs import count_macs
from tessera.medical.models.u_mamba import Mamba, MambaLayer, UMamba

from . import plans
from .checks import check_network, parameter_count

CT, MR, ENDOSCOPY, CELLS = (40, 224, 192), (320, 320), (384, 640), (512, 512)
TINY_ENC = {"mamba": "encoder", "features": [4, 6, 16]}  # 16 channels and 12 positions in the deepest stage


@pytest.mark.parametrize(
    ("options", "patch", "channels", "classes", "version", "bottleneck", "encoder"),
    [
        (plans.ABDOMEN, CT, 1, 14, 2, 41_945_158, 42_842_798),
        (plans.BRATS, (128, 128, 128), 1, 14, 2, 42_130_054, 42_760_582),
        (plans.BRATS, (128, 128, 128), 4, 4, 2, 42_124_692, 42_755_220),
        (plans.isotropic(3, 5), (96, 96, 96), 1, 2, 2, 22_571_400, 22_809_544),
        (plans.MR_2D, MR, 1, 14, 2, 47_533_012, 47_015_538),
        (plans.MR_2D, ENDOSCOPY, 3, 8, 2, 47_524_592, 47_680_592),
        (plans.CELL_2D, CELLS, 3, 3, 2, 64_797_301, 64_014_261),
        (plans.ABDOMEN, CT, 1, 14, 1, 57_832_166, 59_105_766),
        (plans.MR_2D, MR, 1, 14, 1, 63_344_180, 67_333_428),
        (plans.MR_2D, ENDOSCOPY, 3, 8, 1, 63_335_696, 67_324_944),
        (plans.CELL_2D, CELLS, 3, 3, 1, 86_150_037, 91_835_029),
    ],
)
def test_parameters_equal_the_sheet(
    options: dict[str, Any],
    patch: tuple[int, ...],
    channels: int,
    classes: int,
    version: int,
    bottleneck: int,
    encoder: int,
) -> None:
    for place, parameters in (("bottleneck", bottleneck), ("encoder", encoder)):
        found = parameter_count(
            UMamba, channels, classes, **options, mamba=place, version=version, patch=patch
        )
        assert found == parameters


@pytest.mark.parametrize(
    ("width", "parameters"),
    [(32, 9_920), (64, 32_640), (128, 116_480), (256, 437_760), (320, 675_200), (512, 1_694_720)],
)
def test_parameters_of_a_mamba_equal_the_sheet(width: int, parameters: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in Mamba(width).parameters()) == parameters
        assert sum(p.numel() for p in MambaLayer(width).parameters()) == parameters + 2 * width


@pytest.mark.parametrize(
    ("options", "patch", "widths"),
    [
        (plans.ABDOMEN, CT, {0: 32, 1: 64, 2: 128, 3: 256, 4: 320, 5: -210}),
        (plans.ABDOMEN, (48, 160, 224), {0: 32, 1: 64, 2: 128, 3: 256, 4: 320, 5: -210}),
        (plans.BRATS, (128, 128, 128), {0: 32, 1: 64, 2: 128, 3: 256, 4: 320, 5: -64}),
        (plans.MR_2D, MR, {0: 32, 2: 128, 4: -400, 6: -25}),
        (plans.MR_2D, ENDOSCOPY, {0: 32, 2: 128, 4: 512, 6: -60}),
        (plans.CELL_2D, CELLS, {1: 64, 3: 256, 5: -256, 7: -16}),
        (plans.TINY_3D | {"features": [4, 6, 12]}, (6, 8, 12), {0: 4, 1: 6, 2: -12}),  # as many as channels
    ],
)
def test_tokens_in_the_encoder_equal_the_sheet(
    options: dict[str, Any], patch: tuple[int, ...], widths: dict[int, int]
) -> None:
    """Width of the tokens by stage; negative where channels are the tokens."""
    with torch.device("meta"):
        network = UMamba(1, 2, **options, mamba="encoder", patch=patch)
    found = {
        i: -layer.norm.normalized_shape[0] if layer.channel_tokens else layer.norm.normalized_shape[0]
        for i, stage in enumerate(network.encoder)
        for layer in stage.modules()
        if isinstance(layer, MambaLayer)
    }
    assert found == widths


@pytest.mark.parametrize(
    ("options", "patch", "channels", "classes", "giga"),
    [
        (plans.MR_2D, MR, 1, 14, {1: 45.3, 2: 41.0}),
        (plans.MR_2D, ENDOSCOPY, 3, 8, {1: 108.8, 2: 98.4}),
        (plans.CELL_2D, CELLS, 3, 3, {1: 117.0, 2: 101.0}),
        (plans.ABDOMEN, CT, 1, 14, {2: 788.1}),
    ],
)
def test_multiply_adds_of_the_convolutions_equal_the_sheet(
    options: dict[str, Any], patch: tuple[int, ...], channels: int, classes: int, giga: dict[int, float]
) -> None:
    """The sheet convolves enlarged maps; ours are convolved before, and the difference is known."""
    for version, expected in giga.items():
        with torch.device("meta"):
            network = UMamba(channels, classes, **options, mamba="none", version=version).eval()  # type: ignore[arg-type]
            found = count_macs(network, torch.empty(1, channels, *patch))
        positions = [math.prod(size) for size in network.topology.sizes(patch)]
        features = network.topology.features
        saved = sum(
            c * below * (fine - coarse)
            for c, below, fine, coarse in zip(features, features[1:], positions, positions[1:], strict=False)
        )
        assert (found + saved * (version == 2)) / 1e9 == pytest.approx(expected, abs=0.05)


def test_multiply_adds_of_a_layer_are_those_of_its_parts() -> None:
    """560 tokens of 256: linear layers, 4 taps and a scan of 512 channels, a state of 16, rank 16."""
    linear = 256 * 1024 + 512 * 48 + 16 * 512 + 512 * 256
    with torch.device("meta"):
        found = count_macs(MambaLayer(256), torch.empty(1, 256, 8, 7, 10))
    assert found == 560 * (linear + 4 * 512 + 512 * (1 + 4 * 16)) + 3 * 4 * 512  # taps over the padding


def one_token_after_another(mamba: Mamba, tokens: Tensor) -> Tensor:
    """The layer as it would run on a stream: a window of four tokens and one state are all it remembers."""
    scan, inner = mamba.scan, mamba.conv.in_channels
    rate = -torch.exp(scan.log_rate)
    window, state = tokens.new_zeros(inner, 4), tokens.new_zeros(inner, 16)
    outputs = []
    for token in tokens:
        x, gate = (mamba.project_in.weight @ token).split(inner)
        window = torch.cat([window[:, 1:], x[:, None]], dim=1)
        u = F.silu((window * mamba.conv.weight[:, 0]).sum(1) + mamba.conv.bias)
        step, read_in, read_out = (scan.project[0] @ u).split([len(scan.project[0]) - 32, 16, 16])
        step = torch.log1p(torch.exp(scan.step_weight[0] @ step + scan.step_bias[0]))
        state = torch.exp(step[:, None] * rate) * state + (step * u)[:, None] * read_in
        outputs.append(mamba.project_out.weight @ ((state @ read_out + scan.skip * u) * F.silu(gate)))
    return torch.stack(outputs)


def test_mamba_equals_its_recurrence() -> None:
    mamba = Mamba(20).double()
    tokens = torch.randn(2, 50, 20, dtype=torch.float64)
    expected = torch.stack([one_token_after_another(mamba, row) for row in tokens])
    found = mamba(tokens.transpose(1, 2)).transpose(1, 2)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_mamba_begins_with_the_first_values_of_its_release() -> None:
    scan = Mamba(64).scan
    step = F.softplus(scan.step_bias)
    assert 1e-3 <= step.min() < 2e-3
    assert 0.05 < step.max() <= 0.1001
    torch.testing.assert_close(scan.log_rate.exp(), torch.arange(1.0, 17).expand(128, 16))


def test_positions_are_read_row_by_row_and_a_token_sees_none_behind_it() -> None:
    layer, x = MambaLayer(8), torch.randn(1, 8, 3, 4, 5)
    changed = x.clone()
    changed[0, :, 1, 2, 3] += 1
    difference = (layer(changed) - layer(x)).abs().amax(1).flatten()
    first = (1 * 4 + 2) * 5 + 3
    assert difference[:first].max() == 0
    assert difference[first] > 0
    assert difference[first + 1 :].max() > 0


def test_channels_as_tokens_are_read_in_their_order() -> None:
    layer, x = MambaLayer(6, channel_tokens=True), torch.randn(1, 9, 2, 3)
    changed = x.clone()
    changed[0, 4, 1, 2] += 1
    difference = (layer(changed) - layer(x)).abs().amax((2, 3))[0]
    assert difference[:4].max() == 0
    assert difference[4] > 0


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("place", ["bottleneck", "encoder"])
@pytest.mark.parametrize(("options", "size"), [(plans.TINY_3D, (6, 8, 12)), (plans.TINY_2D, (12, 6))])
def test_twin_is_the_network_without_exactly_its_layers(
    options: dict[str, Any], size: tuple[int, ...], place: str, version: int
) -> None:
    both: dict[str, Any] = {**options, "version": version, "patch": size}
    network, twin = UMamba(2, 3, **both, mamba=place), UMamba(2, 3, **both, mamba="none")  # type: ignore[arg-type]
    layers = [m for m in network.modules() if isinstance(m, MambaLayer)]
    inside = {id(p) for layer in layers for p in layer.parameters()}
    rest = {name for name, p in network.named_parameters() if id(p) not in inside}
    assert inside
    assert rest == set(twin.state_dict())
    missing = twin.load_state_dict(network.state_dict(), strict=False)
    assert not missing.missing_keys
    for layer in layers:
        layer.forward = lambda x: x  # type: ignore[method-assign]
    x = torch.randn(1, 2, *size)
    with torch.no_grad():
        assert torch.equal(network.eval()(x), twin.eval()(x))


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (plans.TINY_3D, (6, 8, 12)),
        (plans.TINY_3D | TINY_ENC | {"patch": (4, 4, 6)}, (4, 4, 6)),
        (plans.TINY_3D | {"mamba": "encoder", "version": 1}, (4, 4, 6)),
        (plans.TINY_2D | TINY_ENC | {"patch": (8, 6)}, (8, 6)),
        (plans.TINY_2D | {"version": 1, "mamba": "none"}, (12, 6)),
    ],
)
def test_network_is_sound(options: dict[str, Any], size: tuple[int, ...]) -> None:
    check_network(UMamba, size, options)


@pytest.mark.parametrize("version", [1, 2])
def test_all_norms_begin_at_one_as_released(version: Any) -> None:
    weights = UMamba(1, 2, **plans.TINY_3D, version=version).state_dict()
    norms = [w for name, w in weights.items() if w.ndim == 1 and name.endswith("weight")]
    assert len(norms) > 10
    assert all((w == 1).all() for w in norms)


def test_pointwise_convolution_before_enlarging_is_the_one_behind_it() -> None:
    up = UMamba(1, 2, **plans.TINY_3D).ups[0]
    x = torch.randn(2, 8, 3, 4, 5)
    enlarged = x.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(3, 4)
    torch.testing.assert_close(up(x), up[0](enlarged), rtol=1e-5, atol=1e-6)  # type: ignore[index]


def test_mamba_stays_in_single_precision_under_autocast() -> None:
    layer, x = MambaLayer(8), torch.randn(2, 8, 3, 4)
    network = UMamba(2, 3, **plans.TINY_2D).eval()
    image = torch.randn(1, 2, 24, 32)
    with torch.no_grad():
        plain = network(image)
        with torch.autocast("cpu", torch.bfloat16):
            assert torch.equal(layer(x), layer.float()(x))
            assert layer(x.bfloat16()).dtype == torch.float32
            torch.testing.assert_close(network(image).float(), plain, rtol=0, atol=0.3)


def test_layers_made_for_a_patch_take_no_other_size() -> None:
    options: dict[str, Any] = plans.TINY_3D | TINY_ENC
    network = UMamba(2, 3, **options, patch=(6, 8, 12))
    with pytest.raises(ValueError, match=r"fit \(6, 8, 12\) only"):
        network(torch.zeros(1, 2, 6, 8, 24))
    free = UMamba(2, 3, **plans.TINY_3D, mamba="encoder", patch=(6, 8, 12)).eval()  # 8 channels, 12 positions
    with torch.no_grad():
        assert free(torch.zeros(1, 2, 6, 8, 24)).shape == (1, 3, 6, 8, 24)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"mamba": "decoder"}, "choose bottleneck, encoder or none"),
        ({"version": 3}, "choose 1 or 2"),
        ({"mamba": "encoder"}, "needs patch"),
        ({"mamba": "encoder", "patch": (6, 8, 13)}, "for instance 6 x 8 x 18"),
    ],
)
def test_impossible_options_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        UMamba(1, 2, **(plans.TINY_3D | changes))
