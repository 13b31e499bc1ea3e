"""What the report shows of a recording: its spectrogram and a player."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import soundfile

from tessera.audio.config import SoundConfig
from tessera.audio.filter_bank_config import FilterBankConfig
from tessera.audio.readers import SoundReader
from tessera.audio.windows import resample
from tessera.core.data.case import Case
from tessera.core.report.media import CaseMedia

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

LONGEST_S = 10.0  # of sound in the page
PLAYER_RATE_HZ = 16_000  # keeps a page of players small
FRAME_S = 0.032  # of the spectrogram, rounded to a power of two in samples
FRAME_SAMPLES = (64, 1024)  # fewest and most; the picture is not high enough for more
COLUMNS = 640  # of the spectrogram at most, about one a dot
RANGE_DB = 70.0
LOUDEST_DB = -60.0  # the brightest colour is never quieter, so that silence stays dark
SIZE_INCH, DPI = (5.0, 2.2), 120  # 600 x 264 dots


class SoundFigures:
    """Draws recordings for the report."""

    def __init__(self, config: SoundConfig) -> None:
        self.reader = SoundReader(config)
        self.features, self.rate_hz = config.features, config.data.sample_rate_hz

    def draw(self, case: Case) -> CaseMedia:
        """Spectrogram and sound of the first ten seconds, the mean of all channels.

        Where the network sees the bands of a filter bank, so does the reader.
        """
        source = self.reader.open(case)
        try:
            axis = source.grid
            shown = min(axis.n_samples, round(LONGEST_S * axis.rate_hz))
            sound = source.samples(0, shown).mean(axis=0, dtype=np.float32)
        finally:
            source.close()
        title = "Spectrogram" if shown == axis.n_samples else f"Spectrogram, first {LONGEST_S:g} s"
        return CaseMedia(
            images=((title, self._picture(sound, axis.rate_hz)),),
            audio=_wav(resample(sound, axis.rate_hz, PLAYER_RATE_HZ)),
        )

    def _picture(self, sound: npt.NDArray[np.float32], rate_hz: float) -> bytes:
        if not isinstance(self.features, FilterBankConfig):
            return _spectrogram_png(sound, rate_hz)
        heard = resample(sound, rate_hz, self.rate_hz)
        levels, centres_hz = _bank_levels(self.features, heard, self.rate_hz)
        return _bank_png(levels, centres_hz, seconds=len(sound) / rate_hz)


def _spectrogram_png(sound: npt.NDArray[np.float32], rate_hz: float) -> bytes:
    levels = _levels(sound, rate_hz)
    loudest = max(float(levels.max()), LOUDEST_DB)
    figure, axes = _empty_figure()
    image = axes.imshow(
        levels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=loudest - RANGE_DB,
        vmax=loudest,
        extent=(0.0, len(sound) / rate_hz, 0.0, rate_hz / 2000),
    )
    axes.set_ylabel("frequency (kHz)", fontsize=8)
    return _png(figure, axes, image, unit="dB re full scale")


def _bank_png(levels: npt.NDArray[np.float32], centres_hz: tuple[float, ...], *, seconds: float) -> bytes:
    """Levels (bands, frames) over time, each band as high as it is wide in the logarithm of frequency."""
    from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

    loudest = max(float(levels.max()), LOUDEST_DB)
    figure, axes = _empty_figure()
    times = np.linspace(0.0, seconds, levels.shape[1] + 1)
    edges = _edges_hz(centres_hz)
    image = axes.pcolormesh(times, edges, levels - loudest, cmap="magma", vmin=-RANGE_DB, vmax=0.0)
    axes.set_yscale("log")
    axes.set_ylim(edges[0], edges[-1])
    axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.set_ylabel("frequency (Hz)", fontsize=8)
    return _png(figure, axes, image, unit="dB re loudest")


def _edges_hz(centres_hz: tuple[float, ...]) -> npt.NDArray[np.float64]:
    """Bounds of bands halfway between their centres in the logarithm, one more than there are bands."""
    logs = np.log(centres_hz)
    if len(logs) == 1:
        return np.exp([logs[0] - 0.5, logs[0] + 0.5])
    between = (logs[1:] + logs[:-1]) / 2
    return np.exp([2 * logs[0] - between[0], *between, 2 * logs[-1] - between[-1]])


def _empty_figure() -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=SIZE_INCH, dpi=DPI, layout="constrained")
    return figure, figure.subplots()


def _png(figure: Figure, axes: Axes, image: ScalarMappable, *, unit: str) -> bytes:
    axes.set_xlabel("time (s)", fontsize=8)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image, pad=0.01)
    bar.set_label(unit, fontsize=8)
    bar.ax.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _bank_levels(
    features: FilterBankConfig, sound: npt.NDArray[np.float32], rate_hz: int
) -> tuple[npt.NDArray[np.float32], tuple[float, ...]]:
    """Sound (T,) as levels (bands, columns) in dB, and the bands' centres."""
    import torch

    from tessera.audio.features import FilterBank

    front_end = features.for_figures().build(rate_hz)
    assert isinstance(front_end, FilterBank)
    with torch.inference_mode():
        levels = front_end(torch.from_numpy(sound)[None, None])[0, 0].numpy()
    return _few_columns(levels), front_end.centres_hz


def _levels(sound: npt.NDArray[np.float32], rate_hz: float) -> npt.NDArray[np.float32]:
    """Sound (T,) as levels (frequency, time), dB; a sine of full scale has 0."""
    least, most = FRAME_SAMPLES
    size = min(most, max(least, 2 ** round(math.log2(FRAME_S * rate_hz))))
    padded = np.pad(sound, (size // 2, size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    window = np.hanning(size).astype(np.float32)
    amplitude = np.abs(np.fft.rfft(frames * window, axis=1)) * 2 / window.sum()
    return (20 * np.log10(np.maximum(_few_columns(amplitude.T), 1e-8))).astype(np.float32)


def _few_columns(picture: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The loudest of each few frames, so that no click is lost."""
    together = math.ceil(picture.shape[1] / COLUMNS)
    return np.maximum.reduceat(picture, np.arange(0, picture.shape[1], together), axis=1)


def _wav(sound: npt.NDArray[np.float32]) -> bytes:
    """16-bit WAV of (T,) at the player's rate, made quieter where it would clip."""
    peak = float(np.abs(sound).max(initial=1.0))
    buffer = io.BytesIO()
    soundfile.write(buffer, sound / peak, PLAYER_RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
