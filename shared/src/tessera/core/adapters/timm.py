"""Any image encoder of timm as a `MapEncoder`; its weights come from a local file, never from a network."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from tessera.core.backbone.encoders import MapEncoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.slots.route import State
from tessera.core.errors import ConfigError

Values = Sequence[float]

_FOUND_LEAST = 0.75  # of the matrices: timm adapts the first layer and tables of positions


class TimmEncoder(MapEncoder):
    """Image (B, c, H, W) in [0, 1] -> maps (B, channels[i], H_i, W_i), finest first.

    The sizes of maps may be rounded up or down, as the encoder does it.

    Args:
        name: Model name in timm, with or without the tag of its weights, for instance resnet50.a1_in1k.
        in_channels: c; a first layer trained for other channels is adapted by timm.
        weights: Local safetensors or PyTorch file; None draws new weights.
        mean: Subtracted from each channel of the input; one value, or one for each channel.
        std: Then divided by. With weights, mean and std must be given: those that the weights were trained
            with (`expected_input`).
        maps: Numbers of the maps, for instance (1, 2, 3, 4); None gives all of them.
        layout: What the blocks of a U-Net over this encoder are made of.
        options: Passed to timm.create_model, for instance img_size.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        name: str,
        *,
        in_channels: int = 3,
        weights: Path | None = None,
        mean: Values | None = None,
        std: Values | None = None,
        maps: Sequence[int] | None = None,
        layout: EncoderLayout | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        if weights is not None:
            _check_weights(name, weights, mean, std)
        body = _create(name, in_channels=in_channels, weights=weights, maps=maps, **options)
        info: Any = body.feature_info
        self.spatial_dims = 2
        self.channels = tuple(info.channels())
        self.strides = tuple((r, r) for r in info.reduction())
        self.grids = (None,) * len(self.channels)
        self.layout = EncoderLayout() if layout is None else layout
        self.channels_last = getattr(getattr(body, "output_fmt", None), "value", "NCHW") == "NHWC"
        self.body = body
        self.register_buffer("mean", _per_channel("mean", mean, in_channels, 0.0))
        self.register_buffer("std", _per_channel("std", std, in_channels, 1.0))

    def forward(self, x: Tensor, state: State | None = None) -> list[Tensor]:
        """Image (B, c, H, W) -> maps (B, channels[i], H_i, W_i)."""
        maps = self.body((x - self.mean) / self.std)
        return [y.movedim(-1, 1) if self.channels_last else y for y in maps]


def expected_input(name: str) -> dict[str, Any]:
    """Where timm's weights of that name lie, and the mean, std and size (H, W) they were trained with."""
    pretrained = _import_timm().get_pretrained_cfg(_known(name))
    values = pretrained.to_dict()
    hub = values.get("hf_hub_id")
    address = f"https://huggingface.co/{hub}/resolve/main/model.safetensors" if hub else values.get("url")
    return {
        "mean": tuple(values["mean"]),
        "std": tuple(values["std"]),
        "size": tuple(values["input_size"][1:]),
        "address": address or None,
    }


def _import_timm() -> ModuleType:
    try:
        return importlib.import_module("timm")
    except ImportError as error:
        raise ConfigError(
            "this encoder comes from timm, which is not installed",
            found=error,
            hint="pip install 'tessera-core[timm]'",
        ) from error


def _known(name: str) -> str:
    """The name, if timm has it; addresses of hubs are refused, since timm would fetch them."""
    timm = _import_timm()
    if ":" in name or not timm.is_model(name):
        close = timm.list_models(f"*{name.partition('.')[0].rpartition(':')[2].rpartition('/')[2]}*")[:5]
        raise ConfigError(
            f"timm has no model '{name}'",
            expected="a name that timm.list_models() shows",
            hint=f"did you mean one of: {', '.join(close)}?" if close else None,
        )
    return name


def _check_weights(name: str, weights: Path, mean: Values | None, std: Values | None) -> None:
    expected = expected_input(name)
    if not weights.is_file():
        raise ConfigError(
            f"no weights for {name}",
            found=f"no file {weights}",
            expected="a local safetensors or PyTorch file; nothing is downloaded here",
            hint=f"tessera fetch timm:{name} brings them and prints these lines of the config"
            if expected["address"]
            else "get the weights from their makers and name the file",
        )
    if mean is None or std is None:
        raise ConfigError(
            f"weights of {name} without the input normalisation they were trained with",
            found=f"mean {mean}, std {std}",
            expected=f"for timm's own weights mean {expected['mean']} and std {expected['std']}",
        )


def _create(
    name: str, *, in_channels: int, weights: Path | None, maps: Sequence[int] | None, **options: Any
) -> nn.Module:
    timm = _import_timm()
    if maps is not None:
        options["out_indices"] = tuple(maps)
    if weights is not None:
        options["pretrained_cfg_overlay"] = {"file": str(weights), "custom_load": False, "source": ""}
    try:
        body: nn.Module = timm.create_model(
            _known(name), pretrained=weights is not None, features_only=True, in_chans=in_channels, **options
        )
    except (RuntimeError, TypeError, KeyError, AssertionError) as error:
        raise ConfigError(f"timm cannot build {name} with these options", found=error) from error
    if weights is not None:
        _check_loaded(name, body, weights)
    return body


def _check_loaded(name: str, body: nn.Module, weights: Path) -> None:
    """Refuse a file of another network: timm leaves out, without a word, what it does not find."""
    from timm.models import load_state_dict

    stored = load_state_dict(str(weights))
    sums = {_fingerprint(value) for value in stored.values() if isinstance(value, Tensor)}
    matrices = [value for value in body.parameters() if value.ndim > 1]
    found = sum(_fingerprint(value) in sums for value in matrices)
    if found < _FOUND_LEAST * len(matrices):
        raise ConfigError(
            f"{weights} has other weights than {name} needs",
            found=f"{found} of {len(matrices)} matrices",
            hint="take the weights of this very model; timm's names tell sizes and variants apart",
        )


def _fingerprint(value: Tensor) -> tuple[int, float, float]:
    """Number of values, sum and sum of squares; the same for a reshaped tensor."""
    flat = value.detach().double().flatten()
    return flat.numel(), round(flat.sum().item(), 6), round(flat.square().sum().item(), 6)


def _per_channel(name: str, values: Values | None, channels: int, default: float) -> Tensor:
    values = (default,) if values is None else tuple(values)
    if len(values) not in (1, channels):
        raise ConfigError(
            f"{name} of the input", found=f"{len(values)} values", expected=f"one value, or {channels}"
        )
    if name == "std" and min(values) <= 0:
        raise ConfigError("std of the input", found=str(values), expected="values above 0")
    return torch.tensor(values).reshape(1, -1, 1, 1)
