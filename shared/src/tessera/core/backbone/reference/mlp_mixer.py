"""Layouts of MLP-Mixer for images of 224 x 224.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", arXiv 2105.01601. The channel network has
4 C hidden units, the token network C / 2.
"""

from __future__ import annotations

from tessera.core.backbone.layout import EncoderLayout


def _layout(width: int, depth: int, *, patch: int) -> EncoderLayout:
    return EncoderLayout(
        block="metaformer",
        widths=(width,),
        depths=(depth,),
        strides=(1,),
        mixer="token_mlp",
        adn="ln_gelu",
        stem="patch",
        stem_width=width,
        stem_stride=patch,
        stem_adn=False,
        stem_pool=None,
        input_size=(224, 224),
    )


MIXER_LAYOUTS: dict[str, EncoderLayout] = {
    "mixer_s32": _layout(512, 8, patch=32),
    "mixer_s16": _layout(512, 8, patch=16),
    "mixer_b32": _layout(768, 12, patch=32),
    "mixer_b16": _layout(768, 12, patch=16),
    "mixer_l32": _layout(1024, 24, patch=32),
    "mixer_l16": _layout(1024, 24, patch=16),
    "mixer_h14": _layout(1280, 32, patch=14),
}
"""With 3 channels and 1000 classes: 19,104,624, 18,528,264, 60,293,428, 59,880,472, 206,939,264, 208,196,168
and 432,350,952 parameters."""
