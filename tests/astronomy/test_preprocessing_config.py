from __future__ import annotations

import pytest

from tessera.astronomy.preprocessing_config import LogConfig, SkyPreparation, masked_variant
from tessera.core.config import dump_yaml, loads_yaml, validate
from tessera.core.errors import ConfigError

PAPER = """
steps:
  - {kind: complete-bands, least_share: 0.8}
  - {kind: stack}
  - {kind: background, source_sigma: 2, source_pixels: 5, dilation_px: 11, clip_sigma: 3}
  - {kind: subtract-background}
  - {kind: mean-filter, side_px: 3}
  - {kind: sigma-mask, n_sigma: 3}
  - {kind: central-region}
  - {kind: apply-mask}
"""


def read(text: str) -> SkyPreparation:
    return validate(SkyPreparation, loads_yaml(text, source="preset"), source="preset")


def test_a_preset_reads_like_the_paper() -> None:
    assert read(PAPER) == masked_variant(3)
    assert read(dump_yaml(masked_variant(5).model_dump(mode="json"))) == masked_variant(5)


def test_channels_are_counted() -> None:
    assert masked_variant(3).n_channels(3) == 1
    assert masked_variant(3, stack=False).n_channels(3) == 3
    assert masked_variant(3, keep_unmasked=True).n_channels(3) == 2
    assert masked_variant(3, stack=False, keep_unmasked=True, end=(LogConfig(),)).n_channels(3) == 6
    assert SkyPreparation().n_channels(3) == 3


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ("[{kind: subtract-background}]", "subtract-background needs background before it"),
        ("[{kind: background}, {kind: mean-filter}]", "mean-filter needs subtract-background before it"),
        ("[{kind: central-region}]", "central-region needs sigma-mask before it"),
        ("[{kind: stack}, {kind: stack}]", "stack is given twice"),
        ("[{kind: background}, {kind: stack}]", "stack comes after background"),
        ("[{kind: stack}, {kind: complete-bands}]", "complete-bands comes after stack"),
        ("[{kind: log}, {kind: stack}]", "log must be the last step"),
        ("[{kind: stacked}]", "not 'stacked'"),
        ("[{kind: asinh}]", "a value; none was given"),
        ("[{kind: sigma-mask, sigma: 3}]", "did you mean"),
        ("[{kind: background}, {kind: subtract-background}, {kind: mean-filter, side_px: 4}]", "is even"),
    ],
)
def test_steps_that_make_no_sense_are_refused(steps: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(f"steps: {steps}")


def test_a_mask_is_used_in_one_way_only() -> None:
    with pytest.raises(ConfigError, match="exclude each other"):
        read(PAPER + "  - {kind: synthetic-sky}\n")
