"""CRNN against the counts and maps of its paper."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from tessera.audio.models.crnn import CRNN

FINE_POOLS = ((2, 2), (3, 2), (4, 2), (4, 2))


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def map_shapes(network: CRNN, x: Tensor) -> list[tuple[int, ...]]:
    """Shapes that leave the input norm and each block."""
    shapes: list[tuple[int, ...]] = []
    for module in (network.input_norm, *network.blocks):
        module.register_forward_hook(lambda _module, _input, output: shapes.append(tuple(output.shape[1:])))
    with torch.no_grad():
        network.eval()(x)
    return shapes


def tiny(**options: Any) -> CRNN:
    small: dict[str, Any] = {"widths": (4, 4, 4, 4), "rnn": (5,), "dropout": 0.0, "head_dropout": 0.0}
    return CRNN(3, **(small | options))


@pytest.mark.parametrize(
    ("options", "total"),
    [
        ({}, 394_290),
        ({"input_bn": "time", "input_frames": 1366}, 396_978),
        ({"input_bn": "none"}, 394_098),
        ({"widths": (30, 60, 60, 60), "rnn": (30, 30)}, 97_502),
        ({"widths": (48, 96, 96, 96), "rnn": (48, 48)}, 246_578),
        ({"widths": (68, 137, 137, 137), "rnn": (68, 68)}, 497_757),
        ({"widths": (96, 195, 195, 195), "rnn": (96, 96)}, 1_001_135),
        ({"widths": (169, 339, 339, 339), "rnn": (169, 169)}, 3_028_918),
    ],
)
def test_parameters_for_50_tags_equal_the_sheet(options: dict[str, Any], total: int) -> None:
    assert parameter_count(CRNN(50, **options)) == total


def test_maps_of_the_papers_clip_equal_the_sheet() -> None:
    shapes = map_shapes(CRNN(50), torch.zeros(1, 1, 96, 1366))
    assert shapes == [(1, 96, 1440), (64, 48, 720), (128, 16, 240), (128, 4, 60), (128, 1, 15)]


def test_papers_padding_of_37_frames_is_the_rule_for_1366() -> None:
    by_rule, fixed = tiny().eval(), tiny(pad_frames=37).eval()
    fixed.load_state_dict(by_rule.state_dict())
    x = torch.randn(2, 1, 96, 1366)
    assert torch.equal(by_rule(x), fixed(x))


def test_odd_clip_is_padded_with_one_more_zero_at_its_end() -> None:
    by_rule, unpadded = tiny().eval(), tiny(pad_frames=0).eval()
    unpadded.load_state_dict(by_rule.state_dict())
    x = torch.randn(1, 1, 96, 157)
    assert torch.equal(by_rule(x), unpadded(F.pad(x, (17, 18))))


@settings(deadline=None, max_examples=25)
@given(frames=st.integers(1, 700))
def test_every_frame_of_any_clip_can_reach_the_logits(frames: int) -> None:
    network = tiny(pools=((96, 4),), widths=(2,), rnn_pool="mean", input_bn="none").eval()
    steps = map_shapes(network, torch.zeros(1, 1, 96, frames))[-1][-1]
    assert steps == -(-frames // 4)


@pytest.mark.parametrize("frames", [1, 96, 97, 157, 191, 1360])
def test_any_number_of_frames_from_one_gives_logits(frames: int) -> None:
    assert tiny().eval()(torch.randn(1, 1, 96, frames)).shape == (1, 3)


def test_smaller_pools_leave_more_steps_of_a_short_clip() -> None:
    assert map_shapes(CRNN(3, pools=FINE_POOLS), torch.zeros(1, 1, 96, 157))[-1] == (128, 1, 10)


def test_bands_left_by_the_pools_join_the_channels() -> None:
    network = CRNN(3, n_mels=64, pools=((2, 4), (2, 4), (2, 2), (2, 2)))
    assert map_shapes(network, torch.zeros(1, 1, 64, 157))[-1] == (128, 4, 3)
    assert network(torch.randn(2, 1, 64, 157)).shape == (2, 3)


@pytest.mark.parametrize(("axis", "shape"), [("frequency", (1, 1, 96, 1)), ("time", (1, 1, 1, 192))])
def test_input_norm_cancels_gain_and_offset_along_its_axis_only(axis: str, shape: tuple[int, ...]) -> None:
    x = torch.randn(4, 1, 96, 192)
    changed = x * (torch.rand(shape) + 0.5) + torch.randn(shape)
    frames = {"input_frames": 192} if axis == "time" else {}
    network = tiny(input_bn=axis, **frames)
    torch.testing.assert_close(network(changed), network(x), rtol=0, atol=2e-4)
    other_axis = {"frequency": "time", "time": "frequency"}[axis]
    frames = {"input_frames": 192} if other_axis == "time" else {}
    other = tiny(input_bn=other_axis, **frames)
    assert (other(changed) - other(x)).abs().max() > 2e-3


def test_last_state_and_mean_agree_for_one_step_and_differ_for_two() -> None:
    last, mean = tiny().eval(), tiny(rnn_pool="mean").eval()
    mean.load_state_dict(last.state_dict())
    one, two = torch.randn(2, 1, 96, 96), torch.randn(2, 1, 96, 192)
    torch.testing.assert_close(last(one), mean(one))
    assert (last(two) - mean(two)).abs().max() > 1e-4


def test_mean_over_steps_of_a_still_spectrogram_lies_between_its_states() -> None:
    network = tiny(rnn_pool="mean", pad_frames=0, input_bn="none").eval()
    states: list[Tensor] = []
    network.rnns[-1].register_forward_hook(lambda _module, _input, output: states.append(output[0]))
    embedding = network.embed(torch.randn(1, 1, 96, 480))
    assert (embedding > states[0].amin(1)).all()
    assert (embedding < states[0].amax(1)).all()


def test_classifier_reads_the_embedding() -> None:
    network, x = CRNN(7).eval(), torch.randn(2, 1, 96, 157)
    assert network.embed(x).shape == (2, 32)
    assert torch.equal(network(x), network.classifier(network.embed(x)))


def test_head_dropout_leaves_only_the_bias() -> None:
    network = tiny(head_dropout=1.0)
    assert torch.equal(network(torch.randn(1, 1, 96, 192)), network.classifier.bias.expand(1, 3))


def test_dropout_of_everything_hides_the_input_from_the_grus() -> None:
    network, blind = tiny(), tiny(dropout=1.0)
    one, other = torch.randn(1, 1, 96, 192), torch.randn(1, 1, 96, 192)
    assert torch.equal(blind(one), blind(other))
    assert not torch.equal(network(one), network(other))


def test_gate_sees_the_map_before_it_is_pooled() -> None:
    network = CRNN(3, gate="se")
    assert parameter_count(network) - parameter_count(CRNN(3)) == 580 + 3 * (2 * 128 * 8 + 8 + 128)
    shapes = []
    gate = next(module for module in network.modules() if type(module).__name__ == "SEGate")
    gate.register_forward_hook(lambda _module, _input, output: shapes.append(tuple(output.shape)))
    network(torch.randn(2, 1, 96, 157))
    assert shapes == [(2, 64, 96, 192)]


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({"pad_frames": 37}, (1, 1, 96, 21), "21 frames are too few; expected at least 22"),
        ({"pad_frames": 0}, (1, 1, 96, 95), "95 frames are too few; expected at least 96"),
        ({}, (1, 1, 96, 0), "0 frames are too few; expected at least 1"),
        ({}, (1, 1, 64, 157), r"shape \(1, 1, 64, 157\); expected \(B, 1, 96, T\)"),
        ({}, (1, 96, 157), r"expected \(B, 1, 96, T\)"),
        ({}, (1, 2, 96, 157), r"expected \(B, 1, 96, T\)"),
        ({"input_bn": "time", "input_frames": 157}, (1, 1, 96, 158), "built for 157"),
    ],
)
def test_unfit_input_is_refused(options: dict[str, Any], shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)(torch.zeros(shape))


def test_shortest_input_allowed_gives_logits() -> None:
    assert tiny(pad_frames=37).eval()(torch.zeros(1, 1, 96, 22)).shape == (1, 3)
    assert tiny(pad_frames=0).eval()(torch.zeros(1, 1, 96, 96)).shape == (1, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"input_bn": "time"}, "give the number of frames"),
        ({"input_frames": 157}, "None for the others"),
        ({"widths": (4, 4)}, "2 widths and 4 pools"),
        ({"n_mels": 64}, "leave no frequency band"),
        ({"rnn": ()}, "rnn is empty"),
        ({"rnn_pool": "max"}, "choose last or mean"),
        ({"input_bn": "mel"}, "choose frequency, time or none"),
        ({"pad_frames": -1}, "pad_frames=-1"),
        ({"gate": "cbam"}, "no gate 'cbam'"),
    ],
)
def test_unfit_option_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(**options)
