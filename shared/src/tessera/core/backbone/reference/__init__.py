"""Networks of the papers whose parameter counts are known exactly, by name.

A builder takes ``spatial_dims``, the channels of the input and the number of outputs; its own options are
keyword-only. `build_reference` finds it by the network's name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from torch import nn

from tessera.core.backbone.blocks import SpatialDims, require_dims
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.merging import merge_branches
from tessera.core.backbone.reference import res2net, sknet
from tessera.core.backbone.reference.all_cnn import AllCNN
from tessera.core.backbone.reference.conv_kan import KANCMLP, KKAN
from tessera.core.backbone.reference.dhvt import DHVT
from tessera.core.backbone.reference.efficient_tdnn import EfficientTDNN
from tessera.core.backbone.reference.ghostnet import GhostNet
from tessera.core.backbone.reference.mlp_mixer import MIXER_LAYOUTS
from tessera.core.backbone.reference.mobilevit import MobileViT
from tessera.core.backbone.reference.replknet import RepLKNet, replknet_31l, replknet_xl
from tessera.core.backbone.reference.res2net import Res2Net
from tessera.core.backbone.reference.resnet_variants import RESNET_VARIANT_LAYOUTS
from tessera.core.backbone.reference.resnets import RESNET_LAYOUTS
from tessera.core.backbone.reference.shiftwise import ShiftWiseNet
from tessera.core.backbone.reference.skipblocknet import mobilenet_v3_large, skipblocknet_m
from tessera.core.backbone.reference.sknet import SKNet
from tessera.core.backbone.reference.vmamba import VMAMBA_LAYOUTS
from tessera.core.backbone.slots import keyword_options, plug_table

__all__ = ["REFERENCES", "build_reference", "reference_options"]

Builder = Callable[..., nn.Module]


def _of(layout: EncoderLayout) -> Builder:
    """Builder of the classifier over an encoder of this layout."""

    def build(
        spatial_dims: SpatialDims,
        c_in: int,
        num_classes: int,
        *,
        dropout: float = 0.0,
        drop_path: float = 0.0,
        input_size: tuple[int, ...] | None = None,
    ) -> nn.Module:
        made = replace(layout, drop_path=drop_path, input_size=input_size or layout.input_size)
        encoder = Encoder(spatial_dims, in_channels=c_in, layout=made)
        return Classifier(encoder, num_classes, dropout=dropout)

    return build


def _merged(builder: Builder) -> Builder:
    """Builder of the network for inference, into which merged weights fit."""

    def build(spatial_dims: SpatialDims, c_in: int, num_classes: int) -> nn.Module:
        return merge_branches(builder(spatial_dims, c_in, num_classes))

    return build


def _efficient_tdnn(
    spatial_dims: SpatialDims, c_in: int, num_classes: int, *, width: int = 512
) -> EfficientTDNN:
    """Mel bands are the channels of the input, and the embedding is the output."""
    require_dims("efficient-tdnn", spatial_dims, supported=(1,))
    return EfficientTDNN(c_in, num_classes, width=width)


REFERENCES = plug_table(
    "reference",
    ("resnet-18", _of(RESNET_LAYOUTS["resnet18"])),
    ("resnet-34", _of(RESNET_LAYOUTS["resnet34"])),
    ("resnet-50", _of(RESNET_LAYOUTS["resnet50"])),
    ("resnext-50-32x4d", _of(RESNET_LAYOUTS["resnext50"])),
    ("se-resnet-50", _of(RESNET_LAYOUTS["se_resnet50"])),
    ("se-resnext-50-32x4d", _of(RESNET_LAYOUTS["se_resnext50"])),
    *((name, _of(layout)) for name, layout in RESNET_VARIANT_LAYOUTS.items()),
    ("sknet-50", SKNet),
    ("sknet-101", partial(SKNet, depths=sknet.DEPTHS_101, mixer=sknet.RELEASED_101)),
    ("res2net-50-48w2s", partial(Res2Net, width=48, scale=2)),
    ("res2net-50-26w4s", Res2Net),
    ("res2net-50-14w8s", partial(Res2Net, width=14, scale=8)),
    ("res2net-50-26w6s", partial(Res2Net, scale=6)),
    ("res2net-50-26w8s", partial(Res2Net, scale=8)),
    ("res2net-101-26w4s", partial(Res2Net, depths=res2net.DEPTHS_101)),
    ("res2next-50", partial(Res2Net, width=32, cardinality=8)),
    ("ghostnet-0.5", partial(GhostNet, width=0.5)),
    ("ghostnet-1.0", GhostNet),
    ("ghostnet-1.3", partial(GhostNet, width=1.3)),
    ("mobilenet-v3-large", mobilenet_v3_large),
    ("skipblocknet-m", skipblocknet_m),
    ("replknet-31b", RepLKNet),
    ("replknet-31b-merged", _merged(RepLKNet)),
    ("replknet-31l", replknet_31l),
    ("replknet-31l-merged", _merged(replknet_31l)),
    ("replknet-xl", replknet_xl),
    ("replknet-xl-merged", _merged(replknet_xl)),
    ("shiftwise-t", ShiftWiseNet),
    ("shiftwise-t-merged", _merged(ShiftWiseNet)),
    *((name.replace("_", "-"), _of(layout)) for name, layout in MIXER_LAYOUTS.items()),
    *((name.replace("_", "-"), _of(layout)) for name, layout in VMAMBA_LAYOUTS.items()),
    ("mobilevit-xxs", partial(MobileViT, variant="xxs")),
    ("mobilevit-xs", partial(MobileViT, variant="xs")),
    ("mobilevit-s", MobileViT),
    ("dhvt-t", partial(DHVT, channels=192, heads=3)),
    ("dhvt-t-patch4", partial(DHVT, channels=192, heads=4, patch=4)),
    ("dhvt-t-patch2", partial(DHVT, channels=192, heads=4, patch=2)),
    ("dhvt-s", DHVT),
    ("dhvt-s-patch4", partial(DHVT, heads=8, patch=4)),
    ("dhvt-s-patch2", partial(DHVT, heads=8, patch=2)),
    ("all-cnn-c", AllCNN),
    ("efficient-tdnn", _efficient_tdnn),
    ("kanc-mlp-small", KANCMLP),
    ("kanc-mlp-medium", partial(KANCMLP, widths=(5, 10))),
    ("kkan-small", KKAN),
    ("kkan-medium", partial(KKAN, widths=(5, 10))),
)


def build_reference(
    name: str,
    *,
    spatial_dims: SpatialDims = 2,
    in_channels: int = 3,
    num_classes: int = 1000,
    **options: Any,
) -> nn.Module:
    """The named network (B, in_channels, *S) -> logits (B, num_classes), with new weights."""
    known = reference_options(name)
    require_dims(name, spatial_dims)
    for option in options:
        if option not in known:
            raise ValueError(f"{name} has no option {option!r}; its options: {', '.join(known) or 'none'}")
    return REFERENCES[name](spatial_dims, in_channels, num_classes, **options)


def reference_options(name: str) -> tuple[str, ...]:
    """The names of a network's options."""
    if name not in REFERENCES:
        close = difflib.get_close_matches(name, REFERENCES, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise ValueError(f"there is no network {name!r}; {meant}choose one of: {', '.join(REFERENCES)}")
    return tuple(keyword_options(REFERENCES[name]))
