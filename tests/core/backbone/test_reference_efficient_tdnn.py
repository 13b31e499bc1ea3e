"""EfficientTDNN's base network: multiply-adds, and its wiring with blocks that only multiply."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from tessera.core.backbone.reference.efficient_tdnn import EfficientTDNN, TDNNBlock

from .checks import check_plug, logits


def replace(module: nn.Module, names: tuple[str, ...], child: nn.Module) -> None:
    for name in names:
        setattr(module, name, child)


class Double(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return 2 * x


def test_convolutions_take_1_436_gmacs_for_300_frames() -> None:
    macs = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal macs
        assert isinstance(module, nn.Conv1d)
        macs += module.weight.numel() * output.shape[-1]

    with torch.device("meta"):
        network = EfficientTDNN()
        for module in network.modules():
            if isinstance(module, nn.Conv1d):
                module.register_forward_hook(count)
        assert network(torch.empty(2, 80, 300)).shape == (2, 192)
    assert round(macs / 1e9, 4) == 1.4365


def test_groups_of_a_block_give_the_worked_example() -> None:
    block = TDNNBlock(4, dilation=1, scale=4)
    replace(block, ("reduce", "expand", "gate"), nn.Identity())
    block.convs = nn.ModuleList(Double() for _ in range(3))
    x = torch.tensor([[[1.0], [2], [3], [4]]])
    assert block(x).flatten().tolist() == [2, 8, 22, 4]


def test_each_block_adds_the_running_sum_of_all_outputs_before_it() -> None:
    network = EfficientTDNN(1, 3, width=8, concat=3).eval()
    replace(network, ("stem", "join", "norm"), nn.Identity())
    network.blocks = nn.ModuleList(Double() for _ in range(3))

    class FirstFrame(nn.Module):
        def forward(self, maps: list[Tensor]) -> Tensor:
            return maps[-1][..., 0]

    replace(network, ("head",), FirstFrame())
    # 2*1 + 1 = 3; 2*3 + (1 + 3) = 10; 2*10 + (1 + 3 + 10) = 34
    assert network(torch.ones(1, 1, 2)).tolist() == [[3, 10, 34]]


def test_blocks_look_further_with_each_dilation() -> None:
    dilations = [
        module.dilation[0]
        for block in EfficientTDNN(8, 4, width=16, concat=8).blocks
        for module in block.modules()
        if isinstance(module, nn.Conv1d) and module.kernel_size == (3,)
    ]
    assert dilations == [2] * 7 + [3] * 7 + [4] * 7


def test_layers_come_in_the_order_convolution_relu_norm_without_biases() -> None:
    network = EfficientTDNN(8, 4, width=16, concat=8)
    bundles = [module for module in network.modules() if type(module) is nn.Sequential]
    orders = [[type(layer) for layer in bundle] for bundle in bundles]
    assert orders.count([nn.Conv1d, nn.ReLU, nn.BatchNorm1d]) == 1 + 3 * 9
    assert orders.count([nn.Conv1d, nn.ReLU]) == 1  # before the pooling
    assert all(m.bias is None for m in network.modules() if isinstance(m, nn.Conv1d))


def test_network_trains_evaluates_and_exports() -> None:
    check_plug(
        lambda d: EfficientTDNN(8, 6, width=16, concat=12),
        1,
        size=(33,),
        expected=logits(6),
    )


def test_widths_and_kernels_may_differ_from_block_to_block() -> None:
    """The paper's mobile network: 2,416,416 parameters."""
    with torch.device("meta"):
        network = EfficientTDNN(width=384, inner=(256, 256, 256), kernels=(5, 3, 3, 3), concat=768)
    assert sum(p.numel() for p in network.parameters()) == 2_416_416
    kernels = [
        module.kernel_size[0]
        for module in EfficientTDNN(
            8, 4, width=16, inner=(8, 24), kernels=(1, 5, 3), dilations=(2, 3)
        ).modules()
        if isinstance(module, nn.Conv1d) and module.dilation[0] > 1
    ]
    assert kernels == [5] * 7 + [3] * 7


def test_layers_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="2 inner widths, 3 kernels after the first and 3 dilations"):
        EfficientTDNN(inner=(8, 8))
    with pytest.raises(ValueError, match="1 kernels after the first"):
        EfficientTDNN(kernels=(5, 3))
    with pytest.raises(ValueError, match="12 channels in 8 groups with a kernel of 3"):
        EfficientTDNN(inner=(8, 12, 8))
    with pytest.raises(ValueError, match="with a kernel of 4"):
        EfficientTDNN(kernels=(5, 4, 3, 3))
