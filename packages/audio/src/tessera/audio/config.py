"""Configs of the sound pipeline: data, front ends, networks, augmentation (no torch)."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, NonNegativeInt, model_validator

from tessera.core.config import Config
from tessera.core.run_config import AugmentConfig, DataConfig, Fraction, RunConfig

if TYPE_CHECKING:
    from torch import nn


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


class _FrameConfig(Config):
    """What every spectrogram has."""

    n_fft: int = Field(1024, ge=2, le=65_536, description="samples a frame")
    hop: int = Field(512, ge=1, le=65_536, description="samples between frames")
    window: Literal["hann", "hamming"] = "hann"
    pad_mode: Literal["constant", "reflect"] = Field("constant", description="constant: as librosa 0.11")
    amin: float = Field(1e-10, gt=0.0, description="least power")
    top_db: float | None = Field(80.0, gt=0.0, description="range below the clip's maximum, dB; null is off")
    normalize: Literal["none", "per_clip"] = Field(
        "per_clip", description="zero mean, unit variance a window"
    )

    def options(self, sample_rate_hz: int) -> dict[str, Any]:
        """Keyword arguments of the front end of that kind."""
        return {"sample_rate_hz": sample_rate_hz, **self.model_dump(exclude={"kind"})}


class LinearConfig(_FrameConfig):
    """Power spectrogram in dB, all frequencies."""

    kind: Literal["linear"] = "linear"

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_fft // 2 + 1, frames)."""
        from tessera.audio.features import Spectrogram

        return Spectrogram(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_fft // 2 + 1


class MelConfig(_FrameConfig):
    """Mel spectrogram in dB."""

    kind: Literal["mel"] = "mel"
    n_mels: int = Field(96, ge=1, le=1024)
    f_min_hz: float = Field(0.0, ge=0.0)
    f_max_hz: float | None = Field(None, gt=0.0, description="null: half the sample rate")
    mel_scale: Literal["slaney", "htk"] = "slaney"
    mel_norm: Literal["slaney"] | None = "slaney"
    legacy_double_square: bool = Field(False, description="the released CRNN preprocessing's 2 x dB")

    @model_validator(mode="after")
    def _frequencies_rise(self) -> Self:
        if self.f_max_hz is not None and self.f_min_hz >= self.f_max_hz:
            raise ValueError(f"f_min_hz {self.f_min_hz:g} is not below f_max_hz {self.f_max_hz:g}")
        return self

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_mels, frames)."""
        from tessera.audio.features import MelSpectrogram

        return MelSpectrogram(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_mels


class MfccConfig(MelConfig):
    """Mel-frequency cepstral coefficients."""

    kind: Literal["mfcc"] = "mfcc"  # type: ignore[assignment]
    n_mels: int = Field(128, ge=1, le=1024)
    n_mfcc: int = Field(20, ge=1, le=1024)

    @model_validator(mode="after")
    def _enough_bands(self) -> Self:
        if self.n_mfcc > self.n_mels:
            raise ValueError(f"n_mfcc {self.n_mfcc} is more than n_mels {self.n_mels}")
        return self

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The front end (B, 1, T) -> (B, 1, n_mfcc, frames)."""
        from tessera.audio.features import MFCC

        return MFCC(**self.options(sample_rate_hz))

    def rows(self) -> int:
        """Rows of the picture."""
        return self.n_mfcc


class WaveformConfig(Config):
    """No front end: the network hears the samples."""

    kind: Literal["waveform"] = "waveform"

    def build(self, sample_rate_hz: int) -> nn.Module:
        """The identity."""
        from torch import nn

        del sample_rate_hz
        return nn.Identity()

    def rows(self) -> int:
        """No picture, so no rows."""
        return 0


FeatureConfig = Annotated[LinearConfig | MelConfig | MfccConfig | WaveformConfig, Field(discriminator="kind")]

Gate = Literal["identity", "se", "eca"]
Pool = tuple[Annotated[int, Field(ge=1, le=16)], Annotated[int, Field(ge=1, le=16)]]


class CRNNConfig(Config):
    """Convolutions and two GRUs over a spectrogram (Choi et al. 2017)."""

    kind: Literal["crnn"] = "crnn"
    widths: tuple[int, ...] = Field((64, 128, 128, 128), min_length=1)
    pools: tuple[Pool, ...] = Field(((2, 2), (3, 3), (4, 4), (4, 4)), description="(frequency, time) a block")
    rnn: tuple[int, ...] = Field((32, 32), min_length=1)
    rnn_pool: Literal["last", "mean"] = "last"
    input_bn: Literal["frequency", "none"] = "frequency"
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    head_dropout: float = Field(0.3, ge=0.0, lt=1.0)
    gate: Gate = "identity"

    @model_validator(mode="after")
    def _one_pool_a_block(self) -> Self:
        if len(self.widths) != len(self.pools):
            raise ValueError(f"{len(self.widths)} widths and {len(self.pools)} pools; give one pool a width")
        return self

    def build(self, rows: int, n_outputs: int) -> nn.Module:
        """The network (B, 1, rows, frames) -> (B, n_outputs)."""
        from tessera.audio.models.crnn import CRNN

        return CRNN(n_outputs, n_mels=rows, **self.model_dump(exclude={"kind"}))


class MNetConfig(Config):
    """Very deep networks on the waveform (Dai et al. 2017)."""

    kind: Literal["m3", "m5", "m11", "m18", "m34-res"]
    stem_kernel: int = Field(80, ge=4, le=1024, multiple_of=2, description="samples of the first filters")
    dropout: float = Field(0.0, ge=0.0, lt=1.0)
    gate: Gate = "identity"
    head: Literal["mean", "mean_max"] = "mean"

    @property
    def least_samples(self) -> int:
        """Shortest input: its stem and each of its pools keep every fourth sample."""
        return 4**3 if self.kind == "m3" else 4**5

    def build(self, rows: int, n_outputs: int) -> nn.Module:
        """The network (B, 1, T) -> (B, n_outputs)."""
        from tessera.audio.models.m_nets import MNet

        del rows
        return MNet(n_outputs, variant=self.kind, **self.model_dump(exclude={"kind"}))


ModelConfig = Annotated[CRNNConfig | MNetConfig, Field(discriminator="kind")]


class SoundAugmentConfig(AugmentConfig):
    """Random changes of sound, drawn anew for every window of every step."""

    speed: float = Field(
        0.0, ge=0.0, le=1.0, description="largest change of speed and pitch; 0.2 is 1/1.2 to 1.2"
    )
    shift_fraction: Fraction = Field(0.0, description="largest circular shift in time, share of the window")
    gain_db: float = Field(0.0, ge=0.0, le=60.0, description="largest gain up or down, dB")
    noise_snr_db: tuple[float, float] | None = Field(None, description="white noise at this range of SNR, dB")
    flip_sign: bool = Field(False, description="reverse the polarity of half the windows")

    @model_validator(mode="after")
    def _snr_rises(self) -> Self:
        if self.noise_snr_db is not None and self.noise_snr_db[0] > self.noise_snr_db[1]:
            raise ValueError(f"noise_snr_db {list(self.noise_snr_db)} is not [lowest, highest]")
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
        if problem:
            raise ValueError(problem)
        return self

    def _front_end_problem(self) -> str | None:
        features, model = self.features, self.model
        if isinstance(features, WaveformConfig) != isinstance(model, MNetConfig):
            wanted = "waveform" if isinstance(model, MNetConfig) else "mel, mfcc or linear"
            return f"model {model.kind} needs features of kind: {wanted}"
        if isinstance(model, CRNNConfig) and prod(pool for pool, _ in model.pools) > features.rows():
            return f"model.pools leave nothing of the {features.rows()} rows of features: {features.kind}"
        half = self.data.sample_rate_hz / 2
        if isinstance(features, MelConfig) and (features.f_min_hz >= half or (features.f_max_hz or 0) > half):
            return f"features.f_min_hz or f_max_hz is above half of data.sample_rate_hz, {half:g} Hz"
        return None

    def _window_problem(self) -> str | None:
        samples = round(self.data.window_s * self.data.sample_rate_hz)
        if isinstance(self.model, MNetConfig):
            least, why = self.model.least_samples, f"model {self.model.kind}"
        elif not isinstance(self.features, WaveformConfig) and self.features.pad_mode == "reflect":
            least, why = self.features.n_fft // 2 + 1, f"n_fft {self.features.n_fft} with pad_mode: reflect"
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
