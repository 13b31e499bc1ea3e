"""Grad-CAM: channels of a feature map, weighted by how much they speak for an output.

Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization", ICCV
2017, arXiv 1610.02391.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from tessera.core.backbone.last_map import GivesMaps
from tessera.core.explain.grids import enlarge
from tessera.core.explain.scoring import Activation, evaluating, scores_of

MapAndAnswer = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Input (B, c, *S) -> map (B, C, *S'), and the raw output (B, K) that follows from it."""


def grad_cam(
    network: nn.Module,
    input: Tensor,
    target_index: int | Tensor,
    *,
    layer: nn.Module | None = None,
    activation: Activation | None = None,
) -> Tensor:
    """Input (B, c, *S) -> where it speaks for an output, (B, *S), in one, two or three dimensions.

    Of maps A (B, C, *S') and score y (B,): ReLU(sum over C of a A), with a (B, C) the mean over S' of dy/dA,
    enlarged linearly to S over the same extent. Values are at least 0 and in the score's unit times the
    map's; nothing is normalised, so that rows can be compared. A row where no channel speaks for the output
    is all 0. (MONAI's GradCAM has the same values; by default it then stretches them and turns them upside
    down, the largest to 0.) The network is in evaluation mode meanwhile; its gradients stay as they are.

    Args:
        network: (B, c, *S) -> raw output (B, K).
        input: The batch.
        target_index: Which output, or one for each row (B,).
        layer: The module of the network whose output is A; by default a network that gives maps is asked for
            the last of them.
        activation: Raw output -> what is explained; the paper takes the raw output, which is the default.
    """
    answer = _last_map_of(network) if layer is None else answer_through(layer, network)
    with evaluating(network):
        map = weighted_map(answer, input, target_index, activation=activation)
    return enlarge(map, input.shape[2:])


def weighted_map(
    answer: MapAndAnswer, input: Tensor, target_index: int | Tensor, *, activation: Activation | None = None
) -> Tensor:
    """Input (B, c, *S) -> Grad-CAM on the map's own grid (B, *S'); the network is in evaluation mode."""
    with torch.inference_mode(False), torch.enable_grad():
        features, raw = answer(input.detach().clone().requires_grad_())
        if features.ndim != input.ndim:
            raise ValueError(
                f"Grad-CAM: the layer gives {tuple(features.shape)}, which is no map over an input of "
                f"{tuple(input.shape)}; take an earlier layer"
            )
        score = scores_of(raw, target_index, activation)
        (slope,) = torch.autograd.grad(score.sum(), features)
    weight = slope.flatten(2).mean(2)
    return torch.einsum("bc,bc...->b...", weight, features.detach()).relu().float()


def answer_through(layer: nn.Module, network: Callable[[Tensor], Tensor]) -> MapAndAnswer:
    """A network's answer together with what one of its modules gives on the way."""

    def answer(input: Tensor) -> tuple[Tensor, Tensor]:
        seen: list[Tensor] = []

        def keep(_module: nn.Module, _input: object, output: object) -> Tensor:
            if not isinstance(output, Tensor) or seen:
                raise ValueError(
                    f"Grad-CAM: the layer {type(layer).__name__} is called more than once or gives "
                    "no single tensor; choose one that gives one map"
                )
            seen.append(output)
            return output.clone()  # what follows may change its input in place

        handle = layer.register_forward_hook(keep)
        try:
            raw = network(input)
        finally:
            handle.remove()
        if not seen:
            raise ValueError(
                f"Grad-CAM: the layer {type(layer).__name__} had no part in the answer; choose one of the "
                "network's own"
            )
        return seen[0], raw

    return answer


def check_gives_maps(body: nn.Module) -> GivesMaps:
    """The body, if it says which of its maps is the last."""
    if not isinstance(body, GivesMaps):
        raise ValueError(
            f"Grad-CAM: {type(body).__name__} does not say which of its maps is the last; name the layer"
        )
    return body


def _last_map_of(network: nn.Module) -> MapAndAnswer:
    body = check_gives_maps(network)

    def answer(input: Tensor) -> tuple[Tensor, Tensor]:
        maps, raw = body.maps_and_logits(input)
        return maps[-1], raw

    return answer
