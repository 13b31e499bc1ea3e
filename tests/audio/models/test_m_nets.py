"""M-nets against the counts, maps and costs of their paper."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tessera.audio.models.m_nets import VARIANTS, MNet, ResidualBlock, VariantName

EIGHT_KHZ_4_S = 32_000


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def settle(network: MNet, x: Tensor) -> MNet:
    """Fit the batch norms to x, so that signals keep their size through many layers."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.momentum = 1.0
    with torch.no_grad():
        network(x)
    return network.eval()


@pytest.mark.parametrize(
    ("variant", "total"),
    [("m3", 221_194), ("m5", 559_114), ("m11", 1_786_442), ("m18", 3_683_786), ("m34-res", 3_984_154)],
)
def test_parameters_for_10_classes_equal_the_sheet(variant: VariantName, total: int) -> None:
    assert parameter_count(MNet(10, variant=variant)) == total


@pytest.mark.parametrize(
    ("variant", "total"),
    [
        ("m3", 129_230_634),
        ("m5", 17_437_994),
        ("m11", 18_665_322),
        ("m18", 20_562_666),
        ("m34-res", 16_896_314),
    ],
)
def test_parameters_of_the_fc_variants_equal_the_sheet(variant: VariantName, total: int) -> None:
    with torch.device("meta"):
        network, x = MNet(10, variant=variant, head="fc", samples=EIGHT_KHZ_4_S), torch.zeros(1, 1, 32_000)
        assert network.eval()(x).shape == (1, 10)
    assert parameter_count(network) == total


def test_fc_variant_is_built_for_one_length() -> None:
    network = MNet(3, variant="m3", head="fc", samples=640)
    assert network(torch.randn(2, 1, 640)).shape == (2, 3)
    with pytest.raises(ValueError, match="641 samples, but head='fc' was built for 640"):
        network(torch.randn(2, 1, 641))
    with pytest.raises(ValueError, match="give the number of samples for head='fc'"):
        MNet(3, head="fc")
    with pytest.raises(ValueError, match="None for the others"):
        MNet(3, samples=32_000)
    with pytest.raises(ValueError, match="samples=63 are too few; expected at least 64"):
        MNet(3, variant="m3", head="fc", samples=63)


@pytest.mark.parametrize(
    ("variant", "megamacs"),
    [("m3", 557.06), ("m5", 278.53), ("m11", 224.99), ("m18", 396.62), ("m34-res", 451.74)],
)
def test_multiply_adds_for_4_seconds_equal_the_sheet(variant: VariantName, megamacs: float) -> None:
    with torch.device("meta"):
        network, x = MNet(10, variant=variant).eval(), torch.zeros(1, 1, EIGHT_KHZ_4_S)
    with FlopCounterMode(display=False) as counter:
        network(x)
    convolutions = counter.get_flop_counts()["Global"][torch.ops.aten.convolution]
    assert convolutions / 2e6 == pytest.approx(megamacs, abs=0.006)


@pytest.mark.parametrize(
    ("variant", "shapes"),
    [
        ("m3", [(256, 500)]),
        ("m5", [(128, 2000), (256, 500), (512, 31)]),
        ("m11", [(64, 2000), (128, 500), (256, 125), (512, 31)]),
        ("m18", [(64, 2000), (128, 500), (256, 125), (512, 31)]),
        ("m34-res", [(48, 2000), (96, 500), (192, 125), (384, 31)]),
    ],
)
def test_maps_of_4_seconds_equal_the_sheet(variant: VariantName, shapes: list[tuple[int, int]]) -> None:
    with torch.device("meta"):
        network, x = MNet(10, variant=variant).eval(), torch.zeros(1, 1, EIGHT_KHZ_4_S)
    assert network.stem(x).shape[-1] == 8000
    assert [tuple(m.shape[1:]) for m in network.stage_maps(x)] == shapes


@pytest.mark.parametrize(
    ("variant", "convolutions"), [("m3", 2), ("m5", 4), ("m11", 10), ("m18", 17), ("m34-res", 33)]
)
def test_name_counts_the_weight_layers(variant: VariantName, convolutions: int) -> None:
    modules = list(MNet(10, variant=variant).modules())
    assert sum(isinstance(m, nn.Conv1d) for m in modules) == convolutions
    assert sum(isinstance(m, nn.Linear) for m in modules) == 1


@pytest.mark.parametrize(("variant", "pools"), [("m3", 2), ("m5", 4), ("m11", 4), ("m18", 4), ("m34-res", 4)])
def test_only_max_pools_of_four_shorten_the_maps_after_the_stem(variant: VariantName, pools: int) -> None:
    modules = list(MNet(10, variant=variant).modules())
    assert sum(isinstance(m, nn.MaxPool1d) and m.kernel_size == (4,) for m in modules) == pools
    assert sum(m.stride != (1,) for m in modules if isinstance(m, nn.Conv1d)) == 1


@pytest.mark.parametrize("stem_kernel", [8, 80, 320])
@pytest.mark.parametrize("samples", [EIGHT_KHZ_4_S, 1024, 2501])
def test_stem_takes_every_fourth_sample_whatever_its_kernel(stem_kernel: int, samples: int) -> None:
    with torch.device("meta"):
        network = MNet(10, variant="m3", stem_kernel=stem_kernel).eval()
        assert network.stem(torch.zeros(1, 1, samples)).shape[-1] == samples // 4
    assert parameter_count(network) == 221_194 + (stem_kernel - 80) * 256


def test_shift_by_1024_samples_shifts_the_last_map_of_m18_by_one_frame() -> None:
    x = torch.randn(1, 1, EIGHT_KHZ_4_S)
    network = settle(MNet(10, variant="m18"), x)
    shifted = torch.cat([torch.randn(1, 1, 1024), x[..., :-1024]], dim=-1)
    with torch.no_grad():
        before, after = network.stage_maps(x)[-1], network.stage_maps(shifted)[-1]
    torch.testing.assert_close(after[..., 7:24], before[..., 6:23], rtol=1e-4, atol=1e-4)
    assert (after[..., 6:23] - before[..., 6:23]).abs().max() > 0.1


def test_shortcut_repeats_each_channel_in_place() -> None:
    block = ResidualBlock(2, 4, stage=2, gate="identity").eval()
    for parameter in block.branch.parameters():
        nn.init.zeros_(parameter)
    x = torch.tensor([[[1.0, 2.0], [-3.0, 4.0]]])
    expected = torch.tensor([[[1.0, 2.0], [1.0, 2.0], [0.0, 4.0], [0.0, 4.0]]])
    torch.testing.assert_close(block(x), expected, rtol=1e-5, atol=0)


def test_branch_is_not_activated_before_the_addition() -> None:
    block = ResidualBlock(2, 2, stage=1, gate="identity").eval()
    for parameter in block.branch.parameters():
        nn.init.zeros_(parameter)
    last_bias = list(block.branch.parameters())[-1]
    nn.init.constant_(last_bias, -1.0)
    output = block(torch.full((1, 2, 3), 5.0))
    torch.testing.assert_close(output, torch.full((1, 2, 3), 4.0), rtol=1e-5, atol=0)


def test_gradient_flows_through_m34_in_training_on_two_clips() -> None:
    network = MNet(10, variant="m34-res")
    target = torch.tensor([1, 7])
    nn.functional.cross_entropy(network(torch.randn(2, 1, 8192)), target).backward()  # type: ignore[no-untyped-call]
    gradients = {n: p.grad for n, p in network.named_parameters()}
    assert all(g is not None and torch.isfinite(g).all() for g in gradients.values())
    assert all(g.abs().max() > 1e-6 for n, g in gradients.items() if g is not None and not n.endswith("bias"))


def test_initial_weights_are_uniform_within_glorots_bound_and_biases_zero() -> None:
    network = MNet(10, variant="m11")
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Linear):
            taps = module.weight.shape[2] if module.weight.ndim == 3 else 1
            bound = (6 / (taps * (module.weight.shape[0] + module.weight.shape[1]))) ** 0.5
            assert 0.97 * bound < module.weight.abs().max() <= bound
            assert module.bias is not None
            assert not module.bias.any()


@pytest.mark.parametrize(("variant", "blocks"), [("m11", 9), ("m18", 16), ("m34-res", 16)])
def test_gate_stands_once_in_each_block(variant: VariantName, blocks: int) -> None:
    gates = [m for m in MNet(10, variant=variant, gate="eca").modules() if type(m).__name__ == "ECAGate"]
    assert len(gates) == blocks


def test_mean_max_head_doubles_the_classifiers_inputs() -> None:
    assert parameter_count(MNet(10, head="mean_max")) == 559_114 + 512 * 10


def test_dropout_before_the_head_is_off_by_default() -> None:
    x = torch.randn(4, 1, 1024)
    plain, dropping = MNet(3), MNet(3, dropout=0.5)
    assert torch.equal(plain(x), plain(x))
    assert not torch.equal(dropping(x), dropping(x))


@pytest.mark.parametrize("variant", VARIANTS)
def test_shortest_clip_gives_logits_and_one_sample_less_is_refused(variant: VariantName) -> None:
    shortest = 64 if variant == "m3" else 1024
    network = MNet(10, variant=variant).eval()
    assert network.stage_maps(torch.zeros(1, 1, shortest))[-1].shape[-1] == 1
    assert network(torch.zeros(1, 1, shortest)).isfinite().all()
    with pytest.raises(ValueError, match=f"{shortest - 1} samples are too few; expected at least {shortest}"):
        network(torch.zeros(1, 1, shortest - 1))


@pytest.mark.parametrize("shape", [(1, 2, 4000), (1, 4000), (1, 1, 1, 4000)])
def test_input_that_is_not_one_channel_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(B, 1, T\)"):
        MNet(10)(torch.zeros(shape))


def test_unfit_option_is_refused() -> None:
    with pytest.raises(ValueError, match="choose one of: m3, m5, m11, m18, m34-res"):
        MNet(10, variant="m7")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="stem_kernel 81"):
        MNet(10, stem_kernel=81)
    with pytest.raises(ValueError, match="no head 'none_such'"):
        MNet(10, head="none_such")
