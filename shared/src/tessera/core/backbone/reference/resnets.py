"""Layouts of the residual networks whose size is known exactly, in one, two and three dimensions."""

from __future__ import annotations

from tessera.core.backbone.layout import EncoderLayout

_BOTTLENECK_WIDTHS = (256, 512, 1024, 2048)

RESNET_LAYOUTS: dict[str, EncoderLayout] = {
    "resnet18": EncoderLayout(),
    "resnet34": EncoderLayout(depths=(3, 4, 6, 3)),
    "resnet50": EncoderLayout(widths=_BOTTLENECK_WIDTHS, depths=(3, 4, 6, 3), ratio=0.25),
    "se_resnet50": EncoderLayout(widths=_BOTTLENECK_WIDTHS, depths=(3, 4, 6, 3), ratio=0.25, gate="se"),
    "resnext50": EncoderLayout(widths=_BOTTLENECK_WIDTHS, depths=(3, 4, 6, 3), ratio=0.5, groups=32),
    "se_resnext50": EncoderLayout(
        widths=_BOTTLENECK_WIDTHS, depths=(3, 4, 6, 3), ratio=0.5, groups=32, gate="se"
    ),
}
"""He et al., arXiv 1512.03385; Xie et al., arXiv 1611.05431 (32x4d); Hu et al., arXiv 1709.01507."""
