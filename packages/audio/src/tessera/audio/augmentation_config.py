"""Named sets of random changes, after Nanni et al. 2021, arXiv 2007.07966 (no torch).

The paper multiplies each clip by a set's changes before training; here every step draws anew for every row of
the batch, so that ``copies`` only says how often a clip stays as it is: once among its copies.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BeforeValidator, Field, model_validator

from tessera.core.config import Config, loads_yaml
from tessera.core.run_config import Fraction

SetName = Literal["sgn", "ssa", "susa", "sspa", "suspa", "tsma"]
SoundChange = Literal[
    "speed",
    "pitch",
    "tempo",
    "tempo-ola",
    "tempo-wsola",
    "tempo-hpss",
    "gain",
    "noise",
    "shift",
    "clip",
    "wow",
    "distort",
    "compress",
    "mix",
]
PictureChange = Literal[
    "picture-shift",
    "picture-time-shift",
    "picture-warp",
    "picture-stretch",
    "picture-rotate",
    "picture-mask",
    "picture-mix",
    "picture-emda",
]
SET_NAMES: tuple[SetName, ...] = get_args(SetName)
PICTURE_CHANGES: tuple[PictureChange, ...] = get_args(PictureChange)
_FACTORS = ("speed", "tempo", "tempo-ola", "tempo-wsola", "tempo-hpss", "picture-warp", "picture-stretch")
_SHARES = ("mix", "picture-mask", "picture-mix", "picture-emda")
_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_FACTORS, (0.25, 4.0)),
    **dict.fromkeys(_SHARES, (0.0, 1.0)),
    "pitch": (-12.0, 12.0),
    "clip": (0.0, 50.0),
    "wow": (0.0, 0.5),
    "distort": (0.1, 10.0),
    "compress": (-80.0, 0.0),
    "picture-shift": (0.0, 0.5),
    "picture-time-shift": (-1.0, 1.0),
    "picture-rotate": (-45.0, 45.0),
}


class Change(Config):
    """One random change and the range of its amount, which is drawn evenly.

    Of sound: speed, tempo and its variants (factor), pitch (semitones), gain (dB), noise (SNR, dB), shift
    (s, in a circle), clip (percent of the samples), wow (depth of a slow change of speed), distort (drive),
    compress (threshold, dB below the peak), mix (share of another row of the same class).

    Of pictures: picture-shift (share of both axes), picture-time-shift (share, in a circle), picture-warp
    (factor of a vocal tract), picture-stretch (factor, of time), picture-rotate (degrees), picture-mask
    (widest share of both axes), picture-mix and picture-emda (share of another row of the same class).
    """

    kind: SoundChange | PictureChange
    range: tuple[float, float] = Field(description="least and greatest amount; its unit is the kind's")
    probability: Fraction = Field(1.0, description="of a set of which all changes are made")
    weight: int = Field(1, ge=1, le=1000, description="of a set of which one is made: against the others")

    @model_validator(mode="after")
    def _range_fits(self) -> Self:
        low, high = self.range
        least, greatest = _BOUNDS.get(self.kind, (-1000.0, 1000.0))
        if not least <= low <= high <= greatest:
            raise ValueError(
                f"range {list(self.range)} of {self.kind} is not [lowest, highest] within {least:g} and "
                f"{greatest:g}"
            )
        return self

    @property
    def of_pictures(self) -> bool:
        """Whether it changes features instead of sound."""
        return self.kind in PICTURE_CHANGES


class AugmentationSet(Config):
    """Changes of sound, or changes of its picture."""

    choose: Literal["one", "all"] = Field(
        description="one of the changes, or all in order, each with its probability"
    )
    copies: int = Field(ge=1, le=10_000, description="1 / (copies + 1) of the rows stay as they are")
    changes: tuple[Change, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _one_stage(self) -> Self:
        if len({change.of_pictures for change in self.changes}) > 1:
            raise ValueError("a set changes sound or its pictures, not both")
        return self

    @property
    def of_pictures(self) -> bool:
        """Whether it changes features instead of sound."""
        return self.changes[0].of_pictures


def _set_of_name(value: Any) -> Any:
    """The packaged set where only its name is given, so that a run's config holds all of it."""
    if not isinstance(value, str):
        return value
    if value not in SET_NAMES:
        raise ValueError(f"there is no set '{value}'; choose one of {', '.join(SET_NAMES)}")
    file = files("tessera.audio").joinpath("augmentations", f"{value}.yaml")
    return loads_yaml(file.read_text(encoding="utf-8"), source=f"augmentation set {value}")


NamedSet = Annotated[AugmentationSet, BeforeValidator(_set_of_name)]
