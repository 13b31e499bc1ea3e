"""Config of the papers' networks by name; torch is imported by ``build`` alone.

`REFERENCE_NAMES` repeats the names in the table of `tessera.core.backbone.reference`, so that a misspelt one
is told without torch; a test compares the two. Options are checked when the network is built.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import AfterValidator, Field

from tessera.core.backbone_config import as_config_error
from tessera.core.config import Config

if TYPE_CHECKING:
    from torch import nn

    from tessera.core.backbone.blocks import SpatialDims

REFERENCE_NAMES: tuple[str, ...] = (
    "all-cnn-c",
    "dhvt-s",
    "dhvt-s-patch2",
    "dhvt-s-patch4",
    "dhvt-t",
    "dhvt-t-patch2",
    "dhvt-t-patch4",
    "eca-resnet-101",
    "eca-resnet-152",
    "eca-resnet-18",
    "eca-resnet-34",
    "eca-resnet-50",
    "eca-resnet-50-adaptive",
    "efficient-tdnn",
    "ge-resnet-50",
    "ge-resnet-50-minus",
    "ge-resnet-50-plus",
    "ghostnet-0.5",
    "ghostnet-1.0",
    "ghostnet-1.3",
    "kanc-mlp-medium",
    "kanc-mlp-small",
    "kkan-medium",
    "kkan-small",
    "mixer-b16",
    "mixer-b32",
    "mixer-h14",
    "mixer-l16",
    "mixer-l32",
    "mixer-s16",
    "mixer-s32",
    "mobilenet-v3-large",
    "mobilevit-s",
    "mobilevit-xs",
    "mobilevit-xxs",
    "replknet-31b",
    "replknet-31b-merged",
    "replknet-31l",
    "replknet-31l-merged",
    "replknet-xl",
    "replknet-xl-merged",
    "res2net-101-26w4s",
    "res2net-50-14w8s",
    "res2net-50-26w4s",
    "res2net-50-26w6s",
    "res2net-50-26w8s",
    "res2net-50-48w2s",
    "res2next-50",
    "resnet-18",
    "resnet-18-ibn-b",
    "resnet-34",
    "resnet-50",
    "resnet-50-ibn-a",
    "resnet-50-ibn-b",
    "resnext-50-32x4d",
    "se-resnet-101",
    "se-resnet-152",
    "se-resnet-50",
    "se-resnext-50-32x4d",
    "senetv2-50",
    "shiftwise-t",
    "shiftwise-t-merged",
    "skipblocknet-m",
    "sknet-101",
    "sknet-50",
    "vmamba-b",
    "vmamba-b-s1l20",
    "vmamba-s",
    "vmamba-s-s1l20",
    "vmamba-t",
    "vmamba-t-s2l5",
)


def _known(name: str) -> str:
    if name not in REFERENCE_NAMES:
        close = difflib.get_close_matches(name, REFERENCE_NAMES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"there is no network {name!r}; {meant}choose one of: {', '.join(REFERENCE_NAMES)}")
    return name


class ReferenceConfig(Config):
    """A paper's network, as it is or with options; see `tessera.core.backbone.reference`."""

    kind: Literal["reference"] = "reference"
    name: Annotated[str, AfterValidator(_known)] = Field(
        description="for instance mobilevit-s", json_schema_extra={"enum": list(REFERENCE_NAMES)}
    )
    options: dict[str, Any] = Field(default_factory=dict, description="of the network, such as dropout")

    def build(self, spatial_dims: SpatialDims, in_channels: int, n_outputs: int) -> nn.Module:
        """The network (B, in_channels, *S) -> logits (B, n_outputs)."""
        from tessera.core.backbone.reference import build_reference

        with as_config_error(f"{self.name} cannot be built"):
            return build_reference(
                self.name,
                spatial_dims=spatial_dims,
                in_channels=in_channels,
                num_classes=n_outputs,
                **self.options,
            )

    def build_for(self, shape: Sequence[int], n_outputs: int) -> nn.Module:
        """The network for inputs of one shape (C, *S), which networks made for one size are told."""
        from tessera.core.backbone.reference import reference_options

        channels, *size = shape
        options = self.options
        if "input_size" in reference_options(self.name):
            options = {"input_size": tuple(size), **options}
        network = self.model_copy(update={"options": options})
        return network.build(cast("SpatialDims", len(size)), channels, n_outputs)
