"""Weight conditioning and transposed tying against their sheets."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone import SpatialDims, conv
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.slots import apply_weights
from tessera.core.backbone.slots.weights_conditioning import merge_conditioning

from .checks import DIMS, SIZES, Build, check_plug

RESNET_50 = 25_557_032
RESNET_50_LAYOUT = EncoderLayout(widths=(256, 512, 1024, 2048), depths=(3, 4, 6, 3), ratio=0.25)
TIED_RESNET_50 = 21_919_784
SHARED_RESNET_50 = 19_675_176


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def small_network(spatial_dims: SpatialDims, *, weights: str = "none", **layout: object) -> nn.Module:
    """A classifier with one bottleneck that can be tied and one that cannot."""
    plan = EncoderLayout(
        widths=(8, 16),
        depths=(2, 1),
        strides=(1, 2),
        ratio=0.5,
        stem_width=8,
        **layout,  # type: ignore[arg-type]
    )
    return apply_weights(weights, Classifier(Encoder(spatial_dims, in_channels=8, layout=plan), 5))


def jittered(module: nn.Module) -> nn.Module:
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return module.eval()


# Weight conditioning


def conditioned_linear(rows: list[list[float]]) -> nn.Module:
    layer = nn.Linear(2, len(rows))
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows))
    return apply_weights("conditioning", layer)


@pytest.mark.parametrize(
    ("raw", "conditioned", "numbers"),
    [
        ([[3.0, 4], [0, 0.1]], [[0.6, 0.8], [0, 1.0]], (83.35466974, 3.0)),
        ([[3.0, 4], [-400, 300]], [[0.6, 0.8], [-0.8, 0.6]], (100.0, 1.0)),
    ],
)
def test_conditioning_gives_the_worked_examples(
    raw: list[list[float]], conditioned: list[list[float]], numbers: tuple[float, float]
) -> None:
    weight: Tensor = conditioned_linear(raw).weight  # type: ignore[assignment]
    torch.testing.assert_close(weight, torch.tensor(conditioned))
    for matrix, number in zip((torch.tensor(raw), weight), numbers, strict=True):
        assert torch.linalg.cond(matrix.detach()).item() == pytest.approx(number, rel=1e-4)


def test_state_dict_keeps_the_raw_weights_and_the_biases() -> None:
    raw = [[3.0, 4], [0, 0.1]]
    state = conditioned_linear(raw).state_dict()
    assert torch.equal(state["parametrizations.weight.original"], torch.tensor(raw))
    assert set(state) == {"bias", "parametrizations.weight.original"}


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_every_row_of_every_layer_has_norm_1(spatial_dims: SpatialDims) -> None:
    network = small_network(spatial_dims, weights="conditioning")
    layers = [m for m in network.modules() if isinstance(m, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d))]
    assert len(layers) == 1 + 3 * 3 + 1 + 1  # stem, three blocks, one shortcut, head
    for layer in layers:
        torch.testing.assert_close(layer.weight.flatten(1).norm(dim=1), torch.ones(layer.weight.shape[0]))


def test_conditioning_adds_no_parameters_and_leaves_what_is_skipped() -> None:
    plain, network = small_network(2), small_network(2)
    apply_weights("conditioning", network, skip=["head", "encoder.stages.0"])
    assert parameter_count(network) == parameter_count(plain)
    raw = {name for name, _ in network.named_parameters() if "original" in name}
    assert raw
    assert not any(name.startswith(("head", "encoder.stages.0")) for name in raw)
    with pytest.raises(AttributeError, match="haed"):
        apply_weights("conditioning", small_network(2), skip=["haed"])


def test_row_of_zeros_stays_and_passes_finite_gradients() -> None:
    layer = conditioned_linear([[0.0, 0], [3, 4]])
    layer(torch.ones(1, 2)).sum().backward()
    torch.testing.assert_close(layer.weight, torch.tensor([[0.0, 0], [0.6, 0.8]]))
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in layer.parameters())


def test_gradient_is_orthogonal_to_the_rows_because_their_length_does_not_matter() -> None:
    layer = conditioned_linear([[3.0, 4], [-1, 2]])
    layer(torch.randn(3, 2)).square().sum().backward()
    raw = layer.get_parameter("parametrizations.weight.original")
    assert raw.grad is not None
    assert raw.grad.abs().max() > 0.01
    torch.testing.assert_close((raw * raw.grad).sum(1), torch.zeros(2), rtol=0, atol=1e-5)


def test_network_with_batch_norms_computes_the_same_in_training() -> None:
    layout = EncoderLayout(widths=(8, 16), depths=(1, 1), strides=(1, 2), stem_width=8)
    encoder, x = Encoder(2, layout=layout), torch.randn(4, 3, 33, 34)
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eps = 1e-12  # weights of another size weigh the eps differently
    expected = encoder(x)
    for y, e in zip(apply_weights("conditioning", copy.deepcopy(encoder))(x), expected, strict=True):
        torch.testing.assert_close(y, e, rtol=1e-3, atol=1e-4)


def test_attention_projections_are_conditioned_too() -> None:
    attention = apply_weights("conditioning", nn.MultiheadAttention(8, 2, batch_first=True))
    for weight in (attention.in_proj_weight, attention.out_proj.weight):  # type: ignore[union-attr]
        torch.testing.assert_close(weight.norm(dim=1), torch.ones(len(weight)))  # type: ignore[operator, arg-type]
    x = torch.randn(2, 5, 8)
    torch.testing.assert_close(attention.eval()(x, x, x)[0], attention.train()(x, x, x)[0])


def test_merged_network_computes_the_same_with_plain_layers() -> None:
    network, x = jittered(small_network(2, weights="conditioning")), torch.randn(2, 8, 33, 34)
    merged = merge_conditioning(copy.deepcopy(network))
    torch.testing.assert_close(merged(x), network(x))
    assert set(merged.state_dict()) == set(small_network(2).state_dict())
    small_network(2).load_state_dict(merged.state_dict())


# Transposed tying


def tied_pair(make: Callable[[int, int], nn.Module]) -> nn.Module:
    block = nn.Module()
    block.first, block.second = make(2, 1), make(1, 2)
    with torch.no_grad():
        block.first.weight.copy_(torch.tensor([1.0, 2]).reshape(block.first.weight.shape))  # type: ignore[operator, arg-type]
    return apply_weights("transposed", block, pairs=[("first", "second")])


@pytest.mark.parametrize(
    ("make", "dims"),
    [
        (lambda c_in, c_out: nn.Linear(c_in, c_out, bias=False), 0),
        (lambda c_in, c_out: conv(1, c_in, c_out, kernel=1, bias=False), 1),
        (lambda c_in, c_out: conv(2, c_in, c_out, kernel=1, bias=False), 2),
        (lambda c_in, c_out: conv(3, c_in, c_out, kernel=1, bias=False), 3),
    ],
)
def test_tied_pair_gives_the_worked_example(make: Callable[[int, int], nn.Module], dims: int) -> None:
    block = tied_pair(make)
    first, second = block.get_submodule("first"), block.get_submodule("second")
    y = second(torch.relu(first(torch.ones(1, 2, *[1] * dims))))
    assert y.flatten().tolist() == [3, 6]
    y.sum().backward()
    (weight,) = block.parameters()
    assert weight.grad is not None
    assert weight.grad.flatten().tolist() == [6, 6]


def test_second_layer_keeps_its_bias() -> None:
    block = tied_pair(nn.Linear)
    assert {name for name, _ in block.named_parameters()} == {"first.weight", "first.bias", "second.bias"}


def our_resnet_50() -> nn.Module:
    return Classifier(Encoder(2, layout=RESNET_50_LAYOUT), 1000)


def their_resnet_50() -> nn.Module:
    return pytest.importorskip("torchvision.models").resnet50()


@pytest.mark.parametrize("host", [our_resnet_50, their_resnet_50])
def test_tied_resnet_50_has_the_parameters_of_the_sheet(host: Callable[[], nn.Module]) -> None:
    with torch.device("meta"):
        assert parameter_count(host()) == RESNET_50
        assert parameter_count(apply_weights("transposed", host())) == TIED_RESNET_50
        assert parameter_count(apply_weights("transposed", host(), per_stage=True)) == SHARED_RESNET_50


def test_tied_vision_transformer_has_the_parameters_of_the_sheet() -> None:
    models = pytest.importorskip("timm.models")
    with torch.device("meta"):
        vit = models.VisionTransformer(weight_init="skip")
        assert parameter_count(vit) == 86_567_656
        assert parameter_count(apply_weights("transposed", vit)) == 58_256_104
        vit = models.VisionTransformer(weight_init="skip")
        assert parameter_count(apply_weights("transposed", vit, attention=True)) == 44_100_328


def test_tied_attention_uses_each_matrix_and_its_transpose() -> None:
    layers = pytest.importorskip("timm.layers")
    attention = layers.Attention(8, num_heads=2, qkv_bias=True).eval()
    query, _, value = attention.qkv.weight.detach().chunk(3)
    expected = copy.deepcopy(attention)
    with torch.no_grad():
        expected.qkv.weight[8:16] = query.T
        expected.proj.weight.copy_(value.T)
    tied, x = apply_weights("transposed", attention, attention=True), torch.randn(2, 5, 8)
    torch.testing.assert_close(tied(x), expected(x))


@pytest.mark.parametrize("options", [{}, {"per_stage": True}])
def test_tied_network_equals_one_with_copied_weights(options: dict[str, bool]) -> None:
    layout = EncoderLayout(widths=(16,), depths=(3,), strides=(1,), ratio=0.25, stem_width=8)
    encoder, x = jittered(Encoder(2, layout=layout)), torch.randn(1, 3, 33, 34)
    expected = copy.deepcopy(encoder)
    blocks = expected.get_submodule("stages.0.blocks")
    first = blocks.get_parameter("1.reduce.weight")
    for block in (1, 2):
        reduce = blocks.get_parameter(f"{block}.reduce.weight")
        source = first if options else reduce
        with torch.no_grad():
            reduce.copy_(source)
            blocks.get_parameter(f"{block}.expand.weight").copy_(source.transpose(0, 1))
    y = apply_weights("transposed", encoder, **options)(x)
    torch.testing.assert_close(y[-1], expected(x)[-1])


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_channel_network_of_the_metaformer_is_tied(dropout: float) -> None:
    layout = EncoderLayout(
        block="metaformer",
        widths=(8,),
        depths=(2,),
        strides=(1,),
        stem_width=8,
        adn="ln_gelu",
        ffn={"kind": "mlp", "dropout": dropout},
    )
    plain = Encoder(1, layout=layout)
    before = parameter_count(plain)
    assert parameter_count(apply_weights("transposed", plain)) == before - 2 * 8 * 32


def test_state_dict_holds_each_matrix_once_and_copies_stay_tied() -> None:
    network = small_network(1, weights="transposed")
    tensors = [t.data_ptr() for t in network.state_dict().values() if t.numel()]
    assert len(tensors) == len(set(tensors))
    copied = copy.deepcopy(network).double()
    block = copied.get_submodule("encoder.stages.0.blocks.1")
    reduce, expand = block.get_submodule("reduce"), block.get_submodule("expand")
    assert expand.weight.data_ptr() == reduce.weight.data_ptr()  # type: ignore[operator]
    assert expand.weight.dtype == torch.float64
    assert expand.weight.data_ptr() not in tensors  # type: ignore[operator]


def test_tied_weights_can_be_conditioned() -> None:
    network = apply_weights("conditioning", small_network(1, weights="transposed"))
    block = network.get_submodule("encoder.stages.0.blocks.1")
    expand: Tensor = block.get_submodule("expand").weight  # type: ignore[assignment]
    torch.testing.assert_close(expand.flatten(1).norm(dim=0), torch.ones(expand.shape[1]))


def test_network_without_pairs_is_refused() -> None:
    with pytest.raises(ValueError, match="no block has layers to tie"):
        apply_weights("transposed", nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3)))


@pytest.mark.parametrize("weights", ["conditioning", "transposed"])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_network_with_other_weights_is_a_good_network(weights: str, spatial_dims: SpatialDims) -> None:
    build: Build = lambda d: small_network(d, weights=weights, adn="ln_gelu")  # noqa: E731
    size = tuple(4 * n for n in SIZES[spatial_dims])
    check_plug(build, spatial_dims, size=size, expected=lambda shape: (shape[0], 5))
