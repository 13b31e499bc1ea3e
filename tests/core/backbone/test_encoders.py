"""Encoders over the slots: published sizes, torchvision's outputs, and the options one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, slots
from tessera.core.backbone.drop_path import DropPath, rising_rates
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.plugs import with_weights
from tessera.core.backbone.reference.resnets import RESNET_LAYOUTS
from tessera.core.backbone.slots.mixer import conv_mixer

from .checks import DIMS, check_plug, logits

RESNET_50 = RESNET_LAYOUTS["resnet50"]
TINY = EncoderLayout(
    widths=(8, 12),
    depths=(1, 2),
    strides=(1, 2),
    ratio=0.5,
    stem="conv",
    stem_width=8,
    stem_stride=1,
    stem_pool=None,
)


def parameter_count(layout: EncoderLayout, spatial_dims: SpatialDims = 2, classes: int = 1000) -> int:
    with torch.device("meta"):
        network = Classifier(Encoder(spatial_dims, layout=layout), classes)
    return sum(p.numel() for p in network.parameters())


def tiny(spatial_dims: SpatialDims, **changes: Any) -> Classifier:
    return Classifier(Encoder(spatial_dims, in_channels=2, layout=replace(TINY, **changes)), 5)


@pytest.mark.parametrize(
    ("name", "counts"),
    [
        ("resnet18", (4_357_800, 11_689_512, 33_716_904)),
        ("resnet50", (18_004_136, 25_557_032, 48_247_976)),
        ("se_resnet50", (20_535_128, 28_088_024, 50_778_968)),
        ("se_resnext50", (26_608_728, 27_559_896, 30_445_656)),
    ],
)
def test_hosts_have_the_published_sizes_in_each_dimension(name: str, counts: tuple[int, ...]) -> None:
    assert tuple(parameter_count(RESNET_LAYOUTS[name], d) for d in DIMS) == counts


@pytest.mark.parametrize("name", ["resnet34", "resnext50"])
def test_hosts_are_as_large_as_torchvision_s(name: str) -> None:
    with torch.device("meta"):
        theirs = torchvision.models.get_model(name if name == "resnet34" else "resnext50_32x4d", weights=None)
    assert parameter_count(RESNET_LAYOUTS[name]) == sum(p.numel() for p in theirs.parameters())


@pytest.mark.parametrize(
    ("changes", "count"),
    [
        ({"gate": "eca"}, 25_557_118),
        ({"gate": {"kind": "sae"}}, 30_586_920),
        ({"gate": "ge_minus"}, 25_557_032),
        ({"gate": "ge", "input_size": (224, 224)}, 31_106_600),
        ({"gate": "ge_plus", "input_size": (224, 224)}, 33_637_592),
        ({"adn": "ibn_a"}, 25_557_032),
        ({"adn": "ibn_b"}, 25_558_568),
        ({"ratio": 104 / 256, "mixer": "res2net"}, 25_699_120),
        ({"ratio": 0.5, "mixer": "sk"}, 27_479_784),
    ],
)
def test_one_line_turns_resnet_50_into_the_network_of_a_paper(changes: dict[str, Any], count: int) -> None:
    assert parameter_count(replace(RESNET_50, **changes)) == count


def test_ibn_b_normalises_only_the_last_sum_of_a_stage() -> None:
    assert parameter_count(replace(RESNET_LAYOUTS["resnet18"], adn="ibn_b")) == 11_689_896


@pytest.mark.parametrize(
    ("patch", "width", "depth", "count"), [(16, 768, 12, 59_880_472), (32, 512, 8, 19_104_624)]
)
def test_metaformer_with_token_mlps_is_mlp_mixer(patch: int, width: int, depth: int, count: int) -> None:
    layout = EncoderLayout(
        block="metaformer",
        widths=(width,),
        depths=(depth,),
        strides=(1,),
        mixer="token_mlp",
        adn="ln_gelu",
        stem="patch",
        stem_width=width,
        stem_stride=patch,
        stem_adn=False,
        stem_pool=None,
        input_size=(224, 224),
    )
    assert parameter_count(layout) == count


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_torchvision_s_weights_give_torchvision_s_logits(name: str) -> None:
    theirs = torchvision.models.get_model(name, weights=None, num_classes=7).eval()
    ours = Classifier(Encoder(2, layout=RESNET_LAYOUTS[name]), 7).eval()
    for module in theirs.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.8, 1.2)  # type: ignore[arg-type]
    values = theirs.state_dict().values()
    ours.load_state_dict(dict(zip(ours.state_dict(), values, strict=True)))
    x = torch.randn(1, 3, 65, 70)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-5)


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"ratio": 1.0, "gate": "se"},
        {"ratio": 2.0, "groups": "depthwise", "shortcut": None, "act_after_add": False},
        {"ratio": 1.0, "pointwise": True, "gate": "eca", "gate_position": "after_mixer"},
        {"down": "avg", "drop_path": 0.2},
        {"block": "metaformer", "adn": "ln_gelu", "layer_scale": 1e-6, "gate": "se"},
        {"block": "metaformer", "adn": "ln_gelu", "ffn": None, "gate": "eca", "down": "conv"},
        {"gate": ["se", "eca"], "route": ["last", "concat"], "stem_pool": {"kind": "max", "kernel": 3}},
    ],
)
def test_classifier_is_as_good_as_a_plug(changes: dict[str, Any], spatial_dims: SpatialDims) -> None:
    check_plug(lambda d: tiny(d, **changes), spatial_dims, channels=2, expected=logits(5), no_export="below")


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize("block", ["bottleneck", "metaformer"])
def test_classifier_is_exported(block: str, spatial_dims: SpatialDims) -> None:
    def build(d: SpatialDims) -> nn.Module:
        return tiny(d, block=block, route="sum", gate="se")

    check_plug(build, spatial_dims, channels=2, expected=logits(5))


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_maps_have_the_stated_channels_and_strides(spatial_dims: SpatialDims) -> None:
    encoder = Encoder(
        spatial_dims, layout=EncoderLayout(widths=(4, 6, 8), depths=(1, 1, 1), strides=(1, 2, 3))
    )
    assert encoder.strides == tuple((s,) * spatial_dims for s in (2, 4, 8, 24))
    maps = encoder.eval()(torch.zeros(1, 3, *(33, 34, 35)[:spatial_dims]))
    assert tuple(y.shape[1] for y in maps) == encoder.channels == (64, 4, 6, 8)
    sizes = [(17, 17, 18), (9, 9, 9), (5, 5, 5), (2, 2, 2)]
    assert [tuple(y.shape[2:]) for y in maps] == [size[:spatial_dims] for size in sizes]


def test_logits_come_with_the_maps_of_the_stages() -> None:
    network = tiny(2).eval()
    x = torch.randn(1, 2, 9, 9)
    maps, y = network.maps_and_logits(x)
    assert [tuple(m.shape[1:]) for m in maps] == [(8, 9, 9), (12, 5, 5)]
    assert torch.equal(y, network(x))


def test_stage_may_stride_differently_along_each_axis() -> None:
    network = tiny(2, strides=(1, (4, 1)))
    assert network.maps_and_logits(torch.zeros(1, 2, 9, 9))[0][-1].shape[2:] == (3, 9)


def kinds(module: nn.Module, kind: type[nn.Module]) -> int:
    return sum(isinstance(part, kind) for part in module.modules())


def test_gate_after_the_mixer_sees_the_inner_width() -> None:
    last, inner = tiny(1, gate="se"), tiny(1, gate="se", gate_position="after_mixer")
    assert [m.out_features for m in last.modules() if isinstance(m, nn.Linear)][1:-1:2] == [8, 12, 12]
    assert [m.out_features for m in inner.modules() if isinstance(m, nn.Linear)][1:-1:2] == [4, 6, 6]


def test_metaformer_adds_what_its_mixer_makes_of_the_normed_input() -> None:
    layout = replace(
        TINY, widths=(8,), depths=(1,), strides=(1,), block="metaformer", adn="ln_gelu", ffn=None
    )
    encoder = Encoder(1, layout=layout).eval()
    (block,) = encoder.stages[0].blocks  # type: ignore[misc]
    nn.init.dirac_(block.mixer.weight)
    x = torch.randn(2, 8, 7)
    normed = (x - x.mean(1, keepdim=True)) / x.var(1, correction=0, keepdim=True).add(1e-6).sqrt()
    torch.testing.assert_close(block(x, {}), x + normed)


def test_drop_path_keeps_the_mean_and_leaves_out_whole_samples() -> None:
    drop = DropPath(0.25)
    y = drop(torch.ones(4000, 2, 3)).flatten(1)
    assert sorted(y.unique().tolist()) == pytest.approx([0, 4 / 3])
    assert (y == y[:, :1]).all()
    assert y.mean().item() == pytest.approx(1, abs=0.05)
    assert torch.equal(drop.eval()(y), y)
    assert rising_rates(0.2, 5) == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])


def test_drop_path_of_an_encoder_rises_to_its_value() -> None:
    rates = [m.probability for m in tiny(1, drop_path=0.2).modules() if isinstance(m, DropPath)]
    assert rates == pytest.approx([0.1, 0.2])


class TokenCounter(nn.Module):
    """A mixer with a side token that counts how many mixers it has passed."""

    uses_state = True

    def __init__(self, spatial_dims: SpatialDims, c_in: int, c_out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = conv_mixer(spatial_dims, c_in, c_out, stride)

    def forward(self, x: Tensor, state: dict[str, Tensor]) -> Tensor:
        state["passed"] = state.get("passed", torch.zeros(x.shape[0])) + 1
        return self.conv(x)


@pytest.mark.parametrize(("block", "ratio", "passed"), [("bottleneck", 1, 6), ("metaformer", 1, 3)])
def test_side_tokens_travel_through_all_blocks(
    block: str, ratio: float, passed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(slots.MIXERS, "counter", TokenCounter)
    encoder = Encoder(1, layout=replace(TINY, block=block, ratio=ratio, mixer="counter"))  # type: ignore[arg-type]
    for _ in range(2):  # each forward pass has tokens of its own
        state: dict[str, Tensor] = {}
        encoder(torch.randn(2, 3, 9), state)
        assert state["passed"].tolist() == [passed, passed]
        encoder(torch.randn(2, 3, 9))


def test_weights_plugs_are_applied_in_order() -> None:
    network = with_weights(tiny(1), ["none", "lecun_normal"])
    linear = next(m for m in network.modules() if isinstance(m, nn.Linear))
    assert torch.equal(linear.bias, torch.zeros(5))


def test_input_map_comes_before_the_stem() -> None:
    radii = {"kind": "log_polar", "radii": 6, "angles": 10}
    network = tiny(2, input_map=radii)
    assert network.maps_and_logits(torch.randn(1, 2, 17, 17))[0][0].shape[2:] == (6, 10)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"widths": (8,)}, "1 widths, 2 depths and 2 strides"),
        ({"depths": (1, 0)}, "must all be 1 or more"),
        ({"block": "transformer"}, "choose bottleneck or metaformer"),
        ({"gate": ["se"]}, "gate: 1 plugs for 2 stages"),
        ({"gate": "sse"}, "there is no gate 'sse'; choose one of: .*eca"),
        ({"gate": {"ratio": 4}}, "write its name under kind"),
        ({"ratio": 0.01}, "ratio 0.01 of 8 channels leaves none"),
        ({"ratio": 0.5, "pointwise": False}, "needs pointwise layers"),
        ({"mixer": "token_mlp"}, "'token_mlp' is made for one size of map; give the network an input_size"),
        ({"mixer": "scnn", "groups": 2}, "'scnn' has no option 'groups'"),
        ({"drop_path": 1.0}, "no probability below 1"),
    ],
)
def test_what_cannot_be_built_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny(2, **changes)


@pytest.mark.parametrize(("per_stage", "count"), [(False, 21_919_784), (True, 19_675_176)])
def test_tied_resnet_50_has_the_computed_size(per_stage: bool, count: int) -> None:
    with torch.device("meta"):
        network = Classifier(Encoder(2, layout=RESNET_50), 1000)
    plug = {"kind": "transposed", "pairs": [("reduce", "expand")], "per_stage": per_stage}
    assert sum(p.numel() for p in with_weights(network, plug).parameters()) == count


@pytest.mark.parametrize(
    ("ratio", "roles"),
    [
        (0.5, ["first", "mid", "last", "last", "post_add"]),  # the second "last" is the shortcut's
        (1.0, ["first", "last", "last", "post_add"]),
    ],
)
def test_bundles_are_told_their_role_in_the_block(
    ratio: float, roles: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, str]] = []

    def spy(spatial_dims: SpatialDims, channels: int, role: str, stage: int) -> nn.Module:
        asked.append((stage, role))
        return nn.Identity()

    monkeypatch.setitem(slots.ADNS, "spy", spy)
    Encoder(1, layout=replace(TINY, ratio=ratio, adn="spy", depths=(1, 1)))
    assert asked[0] == (0, "stem")
    assert [role for stage, role in asked if stage == 1] == roles


def test_drop_path_leaves_the_shortcut() -> None:
    encoder: Any = Encoder(1, layout=replace(TINY, drop_path=0.999))
    block = encoder.stages[1].blocks[1]
    x = torch.rand(50, 12, 9)
    kept = [torch.equal(after, before) for after, before in zip(block(x, {}), x, strict=True)]
    assert sum(kept) > 40
    assert not torch.equal(block.eval()(x, {}), x)
