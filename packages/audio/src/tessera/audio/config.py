"""Config of the sound pipeline: its data, augmentation, and what must fit together (no torch)."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from tessera.audio.augmentation_config import NamedSet
from tessera.audio.feature_config import FeatureConfig, MelConfig, WaveformConfig
from tessera.audio.model_config import (
    CRNNConfig,
    EncoderModelConfig,
    MNetConfig,
    ModelConfig,
    PictureNetConfig,
)
from tessera.core.config import TrainingOnly
from tessera.core.run_config import AugmentConfig, DataConfig, Fraction, RunConfig

PICTURES = "mel, mfcc, linear, cqt, cwt or gammatone"


class SoundDataConfig(DataConfig):
    """How a recording becomes windows."""

    sample_rate_hz: int = Field(16_000, ge=100, le=1_000_000, description="rate the network hears, Hz")
    window_s: float = Field(5.0, gt=0.0, le=600.0, description="length of a window, s")
    hop_s: float | None = Field(
        None, gt=0.0, le=600.0, description="step between windows, s; null: no overlap"
    )
    last_window: Literal["pad", "drop", "back"] = Field(
        "back",
        description="a partial window at the end: moved back to be whole, padded, or dropped; "
        "padding lets a few samples of sound count as much as a whole window",
    )
    channel: Literal["mean"] | NonNegativeInt = Field("mean", description="mean of all, or the number of one")
    standardise: bool = Field(True, description="zero mean and unit variance a window, before padding")


class SoundAugmentConfig(AugmentConfig):
    """Random changes of sound, drawn anew for every window of every step."""

    speed: float = Field(
        0.0, ge=0.0, le=1.0, description="largest change of speed and pitch; 0.2 is 1/1.2 to 1.2"
    )
    tempo: float = Field(
        0.0, ge=0.0, le=1.0, description="largest change of pace alone, pitch kept; 0.3 is 1/1.3 to 1.3"
    )
    place_anywhere: bool = Field(False, description="put a sound shorter than the window anywhere in it")
    shift_fraction: Fraction = Field(0.0, description="largest circular shift in time, share of the window")
    reverb_s: tuple[float, float] | None = Field(
        None, description="simulated rooms with reverberation times in this range, s"
    )
    reverb_direct_db: tuple[float, float] = Field(
        (0.0, 15.0), description="energy of the direct sound over that of a simulated room's echo, dB"
    )
    responses: Annotated[Path | None, TrainingOnly()] = Field(
        None, description="folder of rooms' impulse responses, read once, instead of simulated rooms"
    )
    reverb_share: Fraction = Field(1.0, description="share of the windows that are in a room")
    response_db: float = Field(
        0.0, ge=0.0, le=40.0, description="other recorders and rooms: spread of a random smooth response, dB"
    )
    gain_db: float = Field(0.0, ge=0.0, le=60.0, description="largest gain up or down, dB")
    noise_snr_db: tuple[float, float] | None = Field(None, description="noise at this range of SNR, dB")
    noise_colour_db: float = Field(
        0.0, ge=0.0, le=40.0, description="spread of the noise's random smooth spectrum, dB; 0 is white"
    )
    flip_sign: bool = Field(False, description="reverse the polarity of half the windows")
    set: NamedSet | None = Field(
        None, description="a set of changes: sgn, ssa, susa, sspa, suspa, tsma, or a set's own lines"
    )

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name in ("noise_snr_db", "reverb_s", "reverb_direct_db"):
            bounds = getattr(self, name)
            if bounds is not None and bounds[0] > bounds[1]:
                raise ValueError(f"{name} {list(bounds)} is not [lowest, highest]")
        if self.reverb_s is not None and self.reverb_s[0] <= 0:
            raise ValueError(f"reverb_s {list(self.reverb_s)} is not above 0")
        if self.reverb_s is not None and self.responses is not None:
            raise ValueError("reverb_s and responses both say in which rooms the sounds are; give one")
        return self


class SoundConfig(RunConfig):
    """A run of the sound pipeline."""

    data: SoundDataConfig = SoundDataConfig()
    features: FeatureConfig = MelConfig()
    model: ModelConfig = CRNNConfig()
    augment: SoundAugmentConfig = SoundAugmentConfig()

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        problem = self._front_end_problem() or self._window_problem() or self._mask_problem()
        problem = problem or self._set_problem()
        if problem:
            raise ValueError(problem)
        return self

    def _front_end_problem(self) -> str | None:
        features, model = self.features, self.model
        heard = isinstance(features, WaveformConfig)
        if heard and isinstance(model, PictureNetConfig):
            return f"model {model.kind} needs features of kind: {PICTURES}"
        if not heard and isinstance(model, MNetConfig):
            return f"model {model.kind} needs features of kind: waveform"
        if heard and isinstance(model, EncoderModelConfig) and model.encoder.kind == "timm":
            return f"model.encoder {model.encoder.name} of timm needs features of kind: {PICTURES}"
        if isinstance(model, CRNNConfig) and prod(pool for pool, _ in model.pools) > features.rows():
            return f"model.pools leave nothing of the {features.rows()} rows of features: {features.kind}"
        return None if isinstance(features, WaveformConfig) else features.problem(self.data.sample_rate_hz)

    def _window_problem(self) -> str | None:
        samples = round(self.data.window_s * self.data.sample_rate_hz)
        if isinstance(self.model, MNetConfig):
            least, why = self.model.least_samples, f"model {self.model.kind}"
        elif not isinstance(self.features, WaveformConfig):
            least, why = self.features.least_samples(self.data.sample_rate_hz)
        else:
            return None
        return f"data.window_s holds {samples} samples; {why} needs {least}" if samples < least else None

    def _mask_problem(self) -> str | None:
        axes = 1 if isinstance(self.features, WaveformConfig) else 2
        count, width = self.augment.mask_count, self.augment.mask_width
        if {len(count), len(width)} <= {0, axes} and (len(width) or not any(count)):
            return None
        what = "one number" if axes == 1 else "two numbers, for frequency and time"
        return (
            f"augment.mask_count and augment.mask_width need {what} each for features: {self.features.kind}"
        )

    def _set_problem(self) -> str | None:
        heard = isinstance(self.features, WaveformConfig)
        if self.augment.set is None or not self.augment.set.of_pictures or not heard:
            return None
        return f"augment.set changes pictures; it needs features of kind: {PICTURES}"
