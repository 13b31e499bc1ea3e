"""Weights: what is done to the parameters of a finished module; (module, **options) -> module."""

from __future__ import annotations

from torch import nn

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def keep_weights(module: nn.Module) -> nn.Module:
    """The module as it is, with torch's initial values."""
    return module


def lecun_normal(module: nn.Module) -> nn.Module:
    """Draw the weights of linear layers and convolutions from N(0, 1 / fan_in); their biases become 0.

    The initial values that self-normalising networks need: Klambauer et al., arXiv 1706.02515. The gain is
    1; torch's own gain for 'selu' is 3/4.
    """
    for part in module.modules():
        if isinstance(part, _WEIGHTED):
            nn.init.kaiming_normal_(part.weight, mode="fan_in", nonlinearity="linear")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    return module
