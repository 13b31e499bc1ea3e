"""Explanations of a whole network: through the front end, on the grid of the raw input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from tessera.core.explain.grad_cam import MapAndAnswer, answer_through, check_gives_maps, weighted_map
from tessera.core.explain.grids import enlarge
from tessera.core.explain.occlusion import BATCH_SIZE, occlusion
from tessera.core.explain.scoring import Activation, evaluating
from tessera.core.network import Network


@runtime_checkable
class PlacesMaps(Protocol):
    """A front end that knows where its features lie on its input."""

    def place(self, map: Tensor, shape: tuple[int, ...]) -> Tensor:
        """Map (B, *F) on the features' grid -> (B, *shape) on the input's, 0 where nothing was looked at."""


@dataclass(frozen=True)
class GradCam:
    """`grad_cam` of the body.

    Args:
        layer: Name of a module of the body whose output is the map, for instance blocks.2; empty takes the
            last map of a body that gives maps.
    """

    layer: str = ""


@dataclass(frozen=True)
class Occlusion:
    """`occlusion` of the raw input.

    Args:
        window: Size of the window, one or per axis.
        stride: From one window to the next; half the window by default.
        fill: What stands in the window, in the unit of the raw input.
        batch_size: Filled inputs that go through the network at once.
    """

    window: int | tuple[int, ...]
    stride: int | tuple[int, ...] | None = None
    fill: float | Tensor = 0.0
    batch_size: int = BATCH_SIZE


Explanation = GradCam | Occlusion


def explain(
    network: Network,
    input: Tensor,
    class_index: int | Tensor,
    *,
    method: Explanation | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """Raw input (B, c, *S) -> what speaks for an output, (B, *S).

    Occlusion covers the raw input. Grad-CAM lies on the features: a front end says by ``place`` (see
    `PlacesMaps`) where they lie on the input; one without it must keep the input's shape.

    Args:
        network: Front end and body.
        input: The batch, as the front end takes it.
        class_index: Which output, or one for each row (B,).
        method: Which of the two, with its options; Grad-CAM of the last map by default.
        activation: Raw output -> what is explained, for instance ``torch.sigmoid``; by default itself.
    """
    if isinstance(method, Occlusion):
        return occlusion(
            network,
            input,
            class_index,
            window=method.window,
            stride=method.stride,
            fill=method.fill,
            batch_size=method.batch_size,
            activation=activation,
        )
    with evaluating(network):
        with torch.no_grad():
            features = network.front_end(input)
        answer = _answer(network, (method or GradCam()).layer)
        map = weighted_map(answer, features, class_index, activation=activation)
    return _placed(network, enlarge(map, features.shape[2:]), tuple(input.shape[2:]))


def _answer(network: Network, layer: str) -> MapAndAnswer:
    """Features -> the map and the raw output."""
    if not layer:
        check_gives_maps(network.body)
        return network.map_and_answer
    modules = dict(network.body.named_modules())
    if layer not in modules:
        raise ValueError(
            f"Grad-CAM: the body has no module {layer}; among its own are "
            f"{', '.join(name for name, _ in network.body.named_children())}"
        )
    return answer_through(modules[layer], network.answer)


def _placed(network: Network, map: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Map on the features' grid -> on the input's."""
    if isinstance(network.front_end, PlacesMaps):
        return network.front_end.place(map, shape)
    if tuple(map.shape[1:]) != shape:
        raise ValueError(
            f"Grad-CAM: features of {tuple(map.shape[1:])} of an input of {shape}; "
            f"{type(network.front_end).__name__} does not say where they lie (method place); use occlusion"
        )
    return map
