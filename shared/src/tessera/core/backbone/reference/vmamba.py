"""Layouts of VMamba, the later, ungated family (first version, gated, is another network).

Liu et al., "VMamba: Visual State Space Model", arXiv 2401.10166. N = 1; layer norms have eps 1e-6 where the
authors' code has 1e-5, but inside the mixer.
"""

from __future__ import annotations

from tessera.core.backbone.layout import EncoderLayout


def _layout(width: int, depth: int, *, ratio: float) -> EncoderLayout:
    """Stages of 2, 2, depth and 2 blocks, width doubling from one to the next."""
    return EncoderLayout(
        block="metaformer",
        widths=(width, 2 * width, 4 * width, 8 * width),
        depths=(2, 2, depth, 2),
        mixer={"kind": "ss2d", "ratio": ratio},
        adn="ln_gelu",
        stem="vmamba",
        stem_width=width,
        stem_stride=4,
        stem_pool=None,
    )


VMAMBA_LAYOUTS: dict[str, EncoderLayout] = {
    "vmamba_t": _layout(96, 8, ratio=1),
    "vmamba_t_s2l5": _layout(96, 5, ratio=2),
    "vmamba_s": _layout(96, 15, ratio=2),
    "vmamba_s_s1l20": _layout(96, 20, ratio=1),
    "vmamba_b": _layout(128, 15, ratio=2),
    "vmamba_b_s1l20": _layout(128, 20, ratio=1),
}
"""In 2-D, with 3 channels and 1000 classes: 30,249,064, 30,705,832, 50,147,752, 49,012,840, 88,557,800 and
86,614,504 parameters."""
