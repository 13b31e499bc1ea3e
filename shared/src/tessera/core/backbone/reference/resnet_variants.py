"""Layouts of the residual networks that differ from a ResNet by one plug or by their depth.

Hu et al., arXiv 1709.01507 (SE); Wang et al., arXiv 1910.03151 (ECA, with the kernels of the authors'
weights, one a stage); Hu et al., arXiv 1810.12348 (GE over the whole map, for images of 224 x 224);
Narayanan, arXiv 2311.10807 (SENetV2; ratio 32 and 4 branches are unverified); Pan et al., arXiv 1807.09441
(IBN-Net).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.plugs import Plug
from tessera.core.backbone.reference.resnets import RESNET_LAYOUTS

_18, _34, _50 = (RESNET_LAYOUTS[f"resnet{depth}"] for depth in (18, 34, 50))
_101 = replace(_50, depths=(3, 4, 23, 3))
_152 = replace(_50, depths=(3, 8, 36, 3))


def _eca(kernels: Sequence[int]) -> list[Plug]:
    return [{"kind": "eca", "kernel": kernel} for kernel in kernels]


RESNET_VARIANT_LAYOUTS: dict[str, EncoderLayout] = {
    "se-resnet-101": replace(_101, gate="se"),
    "se-resnet-152": replace(_152, gate="se"),
    "senetv2-50": replace(_50, gate="sae"),
    "eca-resnet-18": replace(_18, gate=_eca((3, 5, 7, 7))),
    "eca-resnet-34": replace(_34, gate=_eca((3, 3, 5, 7))),
    "eca-resnet-50": replace(_50, gate=_eca((3, 5, 5, 7))),
    "eca-resnet-50-adaptive": replace(_50, gate="eca"),
    "eca-resnet-101": replace(_101, gate=_eca((3, 3, 5, 7))),
    "eca-resnet-152": replace(_152, gate=_eca((3, 3, 5, 7))),
    "ge-resnet-50-minus": replace(_50, gate="ge_minus"),
    "ge-resnet-50": replace(_50, gate="ge", input_size=(224, 224)),
    "ge-resnet-50-plus": replace(_50, gate="ge_plus", input_size=(224, 224)),
    "resnet-50-ibn-a": replace(_50, adn="ibn_a"),
    "resnet-50-ibn-b": replace(_50, adn="ibn_b"),
    "resnet-18-ibn-b": replace(_18, adn="ibn_b"),
}
