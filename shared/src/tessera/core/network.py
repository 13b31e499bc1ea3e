"""A network as every pipeline has it: a front end on the model's device, a body, and the target's unit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tessera.core.backbone.last_map import GivesMaps
from tessera.core.data.targets import TargetSpec, n_outputs
from tessera.core.pipeline import Pipeline

LOG_VARIANCE_LIMIT = 20.0  # exp(20) is 5e8: standard deviations from 5e-5 to 2e4 times the targets' own


class Network(nn.Module):
    """Front end (normalisation, spectrogram) followed by the trained body.

    Augmentation of features happens between the two, so they stay separate.

    Args:
        front_end: (B, C, *S) raw input -> features; float32, usually without parameters.
        body: Features -> raw output (B, K), or (B, K, *S) of masks; in training perhaps a list of them.
        output: Raw output -> raw output in the target's unit; the identity for classes.
    """

    def __init__(self, front_end: nn.Module, body: nn.Module, output: nn.Module | None = None) -> None:
        super().__init__()
        self.front_end = front_end
        self.body = body
        self.output = nn.Identity() if output is None else output
        self.channels_last = False
        self._maps_and_logits: Callable[[Tensor], tuple[list[Tensor], Tensor]] | None = None

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, *S) -> raw output (B, K), or (B, K, *S) of masks."""
        return self.answer(self.front_end(input))

    def use_channels_last(self) -> None:
        """Keep the body's 2-D convolutions and their input channels last in memory, which is faster.

        Networks of other dimensions stay as they are.
        """
        if any(parameter.ndim > 4 for parameter in self.body.parameters()):
            return
        self.body.to(memory_format=torch.channels_last)
        self.channels_last = True

    def compile_body(self) -> None:
        """Compile the body with torch.compile, once."""
        if self.body._compiled_call_impl is not None:
            return
        self.body.compile()
        if isinstance(self.body, GivesMaps):
            self._maps_and_logits = torch.compile(self.body.maps_and_logits)

    def answer(self, features: Tensor) -> Tensor:
        """Features -> raw output (B, K), or (B, K, *S) of masks, float32."""
        return self.answers(features)[0]

    def answers(self, features: Tensor) -> list[Tensor]:
        """Features -> all raw outputs, the finest first: several of a body under deep supervision."""
        given = self.training_answer(features)
        return given if isinstance(given, list) else [given]

    def training_answer(self, features: Tensor) -> Tensor | list[Tensor]:
        """Features -> what the body gives, float32: one output, or a list of them, finest first."""
        raw = self.body(self._arranged(features))
        if isinstance(raw, list):
            return [self.output(one.float()) for one in raw]
        return self.output(raw.float())

    def map_and_answer(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Features -> the last map (B, C, *S) and the raw output (B, K), of a body that gives maps."""
        if not isinstance(self.body, GivesMaps):
            raise TypeError(f"{type(self.body).__name__} gives no maps")
        maps, output = (self._maps_and_logits or self.body.maps_and_logits)(self._arranged(features))
        return maps[-1], self.output(output.float())

    def _arranged(self, features: Tensor) -> Tensor:
        if self.channels_last and features.ndim == 4:
            return features.contiguous(memory_format=torch.channels_last)
        return features


class GaussianScale(nn.Module):
    """Means and log variances (B, 2 P) of P standardised targets -> those in the targets' own units.

    A network begins near mean 0 and variance 1; targets in decibels or milliseconds do not.

    Args:
        shape: Of one target: () of a number, (P,) of several.
    """

    def __init__(self, shape: tuple[int, ...] = ()) -> None:
        super().__init__()
        self.shift: Tensor
        self.scale: Tensor
        self.register_buffer("shift", torch.zeros(shape))
        self.register_buffer("scale", torch.ones(shape))

    def fit(self, target: Tensor) -> None:
        """Take mean and standard deviation of the training targets (N,) or (N, P)."""
        spread = target.double().std(dim=0, correction=0)
        usable = (spread > 0) & spread.isfinite()
        self.shift.copy_(target.double().mean(dim=0))
        self.scale.copy_(torch.where(usable, spread, 1.0))

    def forward(self, raw: Tensor) -> Tensor:
        """(B, 2 P) -> (B, 2 P)."""
        mean, log_variance = raw.chunk(2, dim=1)
        mean = mean * self.scale + self.shift
        return torch.cat([mean, bounded(log_variance) + 2 * self.scale.log()], dim=1)


def bounded(log_variance: Tensor) -> Tensor:
    """Log variance within +-20; outside, the gradient is that at the bound, so that it finds back."""
    limited = log_variance.clamp(-LOG_VARIANCE_LIMIT, LOG_VARIANCE_LIMIT)
    return log_variance + (limited - log_variance).detach()


def build_network(pipeline: Pipeline, config: Any, target: TargetSpec) -> Network:
    """A pipeline's network for a target, with initial weights from torch's generator."""
    network: Network = pipeline.resolve("network")(config, n_outputs=n_outputs(target))
    if target.is_measured:
        network.output = GaussianScale((len(target.classes),) if target.kind == "numbers" else ())
    return network
