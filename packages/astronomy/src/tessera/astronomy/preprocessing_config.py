"""Settings of how a galaxy's image is prepared: a list of steps, each with its ``kind`` (no torch)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from tessera.core.config import Config


class CompleteBandsConfig(Config):
    """Refuse an image with a band that is mostly empty."""

    kind: Literal["complete-bands"] = "complete-bands"
    least_share: float = Field(
        0.8, ge=0.0, le=1.0, description="of a band's pixels that must have a value other than zero"
    )


class StackConfig(Config):
    """Add the bands up: one channel."""

    kind: Literal["stack"] = "stack"


class BackgroundConfig(Config):
    """Measure level and noise of the sky outside the sources, of each channel and of their sum."""

    kind: Literal["background"] = "background"
    source_sigma: float = Field(2.0, gt=0.0, description="a source's pixels lie so many deviations above")
    source_pixels: int = Field(5, ge=1, description="connected pixels that make a source")
    dilation_px: int = Field(11, ge=1, description="side of the square by which sources grow")
    clip_sigma: float = Field(3.0, gt=0.0, description="deviations from the median beyond which to clip")
    clip_iterations: int = Field(5, ge=1, le=100, description="rounds of clipping at most")


class SubtractBackgroundConfig(Config):
    """Subtract the sky's level from each channel; pixels without a value become sky (0)."""

    kind: Literal["subtract-background"] = "subtract-background"


class MeanFilterConfig(Config):
    """Replace each pixel by the mean of a square around it."""

    kind: Literal["mean-filter"] = "mean-filter"
    side_px: int = Field(3, ge=1, le=99, description="side of the square, an odd number")

    @model_validator(mode="after")
    def _has_a_middle(self) -> Self:
        if self.side_px % 2 == 0:
            raise ValueError(f"side_px {self.side_px} is even; a square around a pixel has an odd side")
        return self


class SigmaMaskConfig(Config):
    """Mark the pixels of the sum of the channels above so many deviations of the sky.

    The deviation is that of the image before any filter. After a 3 x 3 mean, which divides white noise by
    3, a mask of 3 sigma is one of 9 sigma of the filtered noise: it finds galaxies, and loses faint debris.
    """

    kind: Literal["sigma-mask"] = "sigma-mask"
    n_sigma: float = Field(3.0, gt=0.0, description="standard deviations of the unfiltered sky")


class CentralRegionConfig(Config):
    """Keep of the mask only the connected region that holds the central pixel (H // 2, W // 2)."""

    kind: Literal["central-region"] = "central-region"
    neighbours: Literal[4, 8] = Field(8, description="of a pixel that count as connected to it")
    when_missing: Literal["remark", "fail"] = Field(
        "remark", description="nothing at the centre: an empty mask and a remark, or a failed case"
    )


class ApplyMaskConfig(Config):
    """Set every channel to 0 outside the mask."""

    kind: Literal["apply-mask"] = "apply-mask"
    keep_unmasked: bool = Field(
        False, description="append the same channels without the mask, for streams that touch no galaxy"
    )


class SyntheticSkyConfig(Config):
    """Grow and soften the mask, put white noise outside it, add an offset, take the absolute value."""

    kind: Literal["synthetic-sky"] = "synthetic-sky"
    dilation_px: float = Field(10.0, ge=0.0, description="radius of the disc by which the mask grows")
    soften_px: int = Field(15, ge=1, le=99, description="side of the square whose mean softens the mask")
    offset_sigma: float = Field(3.0, ge=0.0, description="added, in deviations of the sky")
    seed: int = Field(0, ge=0, description="of the noise, which depends on the image too")


class LogConfig(Config):
    """Negative values become 0, then ln(1 + x)."""

    kind: Literal["log"] = "log"


class AsinhConfig(Config):
    """asinh(x / softening): straight for faint pixels, logarithmic for bright ones, negative ones kept."""

    kind: Literal["asinh"] = "asinh"
    softening: float = Field(gt=0.0, description="counts at which the scale bends")


StepConfig = Annotated[
    CompleteBandsConfig
    | StackConfig
    | BackgroundConfig
    | SubtractBackgroundConfig
    | MeanFilterConfig
    | SigmaMaskConfig
    | CentralRegionConfig
    | ApplyMaskConfig
    | SyntheticSkyConfig
    | LogConfig
    | AsinhConfig,
    Field(discriminator="kind"),
]

_AFTER: Mapping[str, str] = MappingProxyType(
    {
        "subtract-background": "background",
        "mean-filter": "subtract-background",  # which replaces NaN, that a filter would spread
        "sigma-mask": "subtract-background",
        "central-region": "sigma-mask",
        "apply-mask": "sigma-mask",
        "synthetic-sky": "sigma-mask",
    }
)
_FIRST: Mapping[str, tuple[str, ...]] = MappingProxyType(  # these look at bands as they were stored
    {"complete-bands": ("stack", "background"), "stack": ("background",)}
)


class SkyPreparation(Config):
    """The steps from an image (C, H, W) in counts to the network's channels, in this order."""

    steps: tuple[StepConfig, ...] = ()

    @model_validator(mode="after")
    def _the_order_makes_sense(self) -> Self:
        kinds = [step.kind for step in self.steps]
        for place, kind in enumerate(kinds):
            if kind in kinds[:place]:
                raise ValueError(f"{kind} is given twice")
            if kind in _AFTER and _AFTER[kind] not in kinds[:place]:
                raise ValueError(f"{kind} needs {_AFTER[kind]} before it")
            late = [name for name in _FIRST.get(kind, ()) if name in kinds[:place]]
            if late:
                raise ValueError(f"{kind} comes after {late[0]}, but must come before it")
            if kind in ("log", "asinh") and place < len(kinds) - 1:
                raise ValueError(f"{kind} must be the last step")
        if "apply-mask" in kinds and "synthetic-sky" in kinds:
            raise ValueError("apply-mask and synthetic-sky exclude each other")
        return self

    def n_channels(self, n_bands: int) -> int:
        """Channels after the last step."""
        n = 1 if any(isinstance(step, StackConfig) for step in self.steps) else n_bands
        doubled = any(isinstance(step, ApplyMaskConfig) and step.keep_unmasked for step in self.steps)
        return 2 * n if doubled else n


def masked_variant(
    n_sigma: float, *, stack: bool = True, keep_unmasked: bool = False, end: Sequence[StepConfig] = ()
) -> SkyPreparation:
    """The paper's ``threshold_{n}sig``, or without ``stack`` its ``threshold_color_{n}sig``.

    Args:
        n_sigma: Of the mask.
        stack: Add the bands up first.
        keep_unmasked: Append the channels without the mask.
        end: Further steps.
    """
    first: list[StepConfig] = [CompleteBandsConfig(), *([StackConfig()] if stack else [])]
    steps = [
        *first,
        BackgroundConfig(),
        SubtractBackgroundConfig(),
        MeanFilterConfig(),
        SigmaMaskConfig(n_sigma=n_sigma),
        CentralRegionConfig(),
        ApplyMaskConfig(keep_unmasked=keep_unmasked),
        *end,
    ]
    return SkyPreparation(steps=tuple(steps))
