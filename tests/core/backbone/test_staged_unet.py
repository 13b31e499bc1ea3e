"""U-Nets of given stages: sizes that fit, first values, and MONAI's network of the same plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.networks.nets import DynUNet
from torch import Tensor, nn

from tessera.core.backbone.staged_unet import (
    ResidualBlock,
    StagedUNet,
    Topology,
    conv_stack,
    he_conv,
    he_transposed,
    residual_stack,
)

STRIDES = ((1, 1, 1), (1, 2, 2), (2, 2, 3))
TOPOLOGY = Topology(features=(4, 6, 8), strides=STRIDES, kernels=((3, 3, 3),) * 3)


def plain(topology: Topology = TOPOLOGY, *, c_in: int = 2, **options: Any) -> StagedUNet:
    t, d = topology, topology.spatial_dims
    wide, up = [c_in, *t.features], range(t.stages - 2, -1, -1)
    return StagedUNet(
        t,
        5,
        encoder=[
            conv_stack(d, wide[i], wide[i + 1], kernel=t.kernels[i], stride=t.strides[i], depth=2)
            for i in range(t.stages)
        ],
        ups=[he_transposed(d, t.features[i + 1], t.features[i], t.strides[i + 1]) for i in up],
        decoder=[conv_stack(d, 2 * t.features[i], t.features[i], kernel=t.kernels[i], depth=2) for i in up],
        **options,
    )


def test_logits_are_those_of_monai_with_the_same_weights() -> None:
    strides = ((1, 1, 1), (1, 2, 2), (2, 2, 1))
    ours = plain(replace(TOPOLOGY, strides=strides)).eval()
    theirs = DynUNet(
        3,
        2,
        5,
        kernel_size=TOPOLOGY.kernels,
        strides=strides,
        upsample_kernel_size=strides[1:],
        filters=TOPOLOGY.features,
        norm_name=("INSTANCE", {"affine": True}),
        trans_bias=True,
    ).eval()
    theirs.load_state_dict(carried_over(ours, theirs))
    x = torch.randn(2, 2, 4, 8, 12)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)


def carried_over(ours: StagedUNet, theirs: nn.Module) -> dict[str, Tensor]:
    """Our weights under MONAI's names, drawn anew so that none is a zero or a one.

    MONAI's convolutions have no bias where a norm follows, which would take it away.
    """
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.normal_(0, 0.3)
    blocks = ["input_block", "downsamples.0", "bottleneck"]
    names = {f"encoder.{i}.": f"{name}." for i, name in enumerate(blocks)}
    names |= {f"ups.{i}.": f"upsamples.{i}.transp_conv.conv." for i in range(2)}
    names |= {f"decoder.{i}.": f"upsamples.{i}.conv_block." for i in range(2)}
    names["heads.1."] = "output_block.conv.conv."
    inner = {f"{n}.{part}": f"{name}{n + 1}" for n in (0, 1) for part, name in ((0, "conv"), (1, "norm"))}
    found: dict[str, Tensor] = {}
    for key, value in ours.state_dict().items():
        start = next((name for name in names if key.startswith(name)), None)
        if start is None:
            continue  # the coarse head, which MONAI makes for deep supervision only
        rest = key.removeprefix(start)
        for ours_inside, theirs_inside in inner.items():
            if rest.startswith(ours_inside + "."):
                kind = ".conv" if "conv" in theirs_inside else ""
                rest = rest.replace(ours_inside, theirs_inside + kind, 1)
                break
        found[names[start] + rest] = value
    return {key: found[key] for key in theirs.state_dict() if "skip_layers" not in key} | {
        key: found[alias] for key, alias in aliases(theirs).items()
    }


def aliases(theirs: nn.Module) -> dict[str, str]:
    """MONAI holds each block twice: by its name and inside nested skip layers."""
    states = theirs.state_dict().items()
    by_storage = {value.data_ptr(): key for key, value in states if "skip_layers" not in key}
    return {key: by_storage[value.data_ptr()] for key, value in states if "skip_layers" in key}


def test_first_values_are_those_of_he_for_leaky_relus() -> None:
    """Deviation sqrt(2 / (1 + 0.01^2) / fan in); a transposed one has its output channels for fan in."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layer, transposed = he_conv(3, 32, 64, kernel=(1, 3, 3)), he_transposed(2, 96, 64, (2, 3))
    for module, fan in ((layer, 32 * 9), (transposed, 64 * 6)):
        weight, bias = (module.get_parameter(name).detach() for name in ("weight", "bias"))
        assert float(weight.std()) == pytest.approx((2 / 1.0001 / fan) ** 0.5, rel=0.02)
        assert float(weight.mean()) == pytest.approx(0, abs=0.002)
        assert not bias.any()


@pytest.mark.parametrize("stride", [None, (1, 2)])
def test_residual_block_begins_as_its_shortcut(stride: tuple[int, int] | None) -> None:
    x = torch.randn(2, 4, 6, 8)
    y = ResidualBlock(2, 4, 4, kernel=(3, 3), stride=stride)(x)
    pooled = x if stride is None else (x[..., ::2] + x[..., 1::2]) / 2
    torch.testing.assert_close(y, F.leaky_relu(pooled, 0.01))
    other = ResidualBlock(2, 4, 4, kernel=(3, 3), stride=stride, begins_as_shortcut=False)(x)
    assert (other - y).abs().max() > 0.1


def test_shortcut_to_other_channels_is_normalised() -> None:
    y = ResidualBlock(3, 4, 6, kernel=(3, 3, 3), stride=(2, 2, 1))(torch.randn(2, 4, 6, 8, 5))
    assert y.shape == (2, 6, 3, 4, 5)
    before = torch.where(y > 0, y, y / 0.01)
    torch.testing.assert_close(before.mean((2, 3, 4)), torch.zeros(2, 6), rtol=0, atol=1e-4)
    torch.testing.assert_close(before.std((2, 3, 4), correction=0), torch.ones(2, 6), rtol=0, atol=1e-3)


def test_stack_of_no_residual_blocks_is_empty() -> None:
    assert len(residual_stack(2, 4, 4, kernel=(3, 3), depth=0)) == 0
    assert len(residual_stack(2, 4, 6, kernel=(3, 3), depth=3)) == 3


@settings(deadline=None, max_examples=20)
@given(st.tuples(*[st.integers(1, 4)] * 3))
def test_every_multiple_of_the_divisors_fits(factors: tuple[int, int, int]) -> None:
    assert TOPOLOGY.divisors == (2, 4, 6)
    size = tuple(n * d for n, d in zip(factors, TOPOLOGY.divisors, strict=True))
    if factors == (1, 1, 1):
        with pytest.raises(ValueError, match="leaves one value to the deepest stage"):
            TOPOLOGY.sizes(size)
        return
    assert TOPOLOGY.sizes(size)[-1] == factors
    with torch.no_grad():
        assert plain().eval()(torch.zeros(1, 2, *size)).shape == (1, 5, *size)


@pytest.mark.parametrize(
    ("size", "words"),
    [
        ((4, 8, 13), "multiples of 2 x 4 x 6, for instance 4 x 8 x 18"),
        ((3, 1, 12), "for instance 4 x 4 x 12"),
        ((8, 12), "2 axes of space; the network has 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused_with_those_that_do(size: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        plain()(torch.zeros(1, 2, *size))


def test_heads_answer_by_mode() -> None:
    x = torch.randn(1, 2, 2, 8, 12)
    network, quiet = plain(), plain(deep_supervision=False)
    sizes = [(1, 5, 2, 8, 12), (1, 5, 2, 4, 6)]
    assert [y.shape for y in network(x)] == sizes
    quiet.load_state_dict(network.state_dict())
    torch.testing.assert_close(quiet(x), network(x)[0])
    torch.testing.assert_close(network.eval()(x), quiet(x))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"encoder": []}, "0 modules down, 2 and 2 up; the topology has 3 stages"),
        ({"num_classes": 0}, "num_classes=0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(changes: dict[str, Any], words: str) -> None:
    parts: dict[str, Any] = {"num_classes": 2, "encoder": [nn.Identity()] * 3}
    with pytest.raises(ValueError, match=words):
        StagedUNet(TOPOLOGY, **(parts | changes), ups=[nn.Identity()] * 2, decoder=[nn.Identity()] * 2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"features": (4, 6)}, "2 features, 3 strides and 3 kernels"),
        ({"features": (4,), "strides": ((1,),), "kernels": ((3,),)}, "two stages or more"),
        ({"features": (4, 0, 8)}, "must be 1 or more"),
        ({"strides": ((1, 1, 1), (0, 1, 1), (2, 2, 2))}, "must be 1 or more"),
        ({"strides": ((1, 1), (1, 1), (2, 2))}, "one number per axis"),
        ({"strides": ((2, 1, 1), (1, 1, 1), (2, 2, 2))}, "it must have ones"),
        ({"kernels": ((3, 3, 3), (3, 2, 3), (3, 3, 3))}, "odd"),
    ],
)
def test_impossible_stages_are_refused(changes: dict[str, Any], words: str) -> None:
    stages: dict[str, Any] = {"features": (4, 6, 8), "strides": STRIDES, "kernels": ((3, 3, 3),) * 3}
    with pytest.raises(ValueError, match=words):
        Topology(**(stages | changes))
