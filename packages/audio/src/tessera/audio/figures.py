"""What the report shows of a recording: its spectrogram and a player."""

from __future__ import annotations

import io
import math

import numpy as np
import numpy.typing as npt
import soundfile

from tessera.audio.config import SoundConfig
from tessera.audio.readers import SoundReader
from tessera.audio.windows import resample
from tessera.core.data.case import Case
from tessera.core.report.media import CaseMedia

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

    def draw(self, case: Case) -> CaseMedia:
        """Spectrogram and sound of the first ten seconds, the mean of all channels."""
        source = self.reader.open(case)
        try:
            axis = source.grid
            shown = min(axis.n_samples, round(LONGEST_S * axis.rate_hz))
            sound = source.samples(0, shown).mean(axis=0, dtype=np.float32)
        finally:
            source.close()
        title = "Spectrogram" if shown == axis.n_samples else f"Spectrogram, first {LONGEST_S:g} s"
        return CaseMedia(
            images=((title, _spectrogram_png(sound, axis.rate_hz)),),
            audio=_wav(resample(sound, axis.rate_hz, PLAYER_RATE_HZ)),
        )


def _spectrogram_png(sound: npt.NDArray[np.float32], rate_hz: float) -> bytes:
    from matplotlib.figure import Figure

    levels = _levels(sound, rate_hz)
    loudest = max(float(levels.max()), LOUDEST_DB)
    figure = Figure(figsize=SIZE_INCH, dpi=DPI, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(
        levels,
        origin="lower",
        aspect="auto",
        cmap="magma",
        vmin=loudest - RANGE_DB,
        vmax=loudest,
        extent=(0.0, len(sound) / rate_hz, 0.0, rate_hz / 2000),
    )
    axes.set_xlabel("time (s)", fontsize=8)
    axes.set_ylabel("frequency (kHz)", fontsize=8)
    axes.tick_params(labelsize=8)
    bar = figure.colorbar(image, pad=0.01)
    bar.set_label("dB re full scale", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def _levels(sound: npt.NDArray[np.float32], rate_hz: float) -> npt.NDArray[np.float32]:
    """Sound (T,) as levels (frequency, time), dB; a sine of full scale has 0."""
    least, most = FRAME_SAMPLES
    size = min(most, max(least, 2 ** round(math.log2(FRAME_S * rate_hz))))
    padded = np.pad(sound, (size // 2, size // 2))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[:: size // 2]
    window = np.hanning(size).astype(np.float32)
    amplitude = np.abs(np.fft.rfft(frames * window, axis=1)) * 2 / window.sum()
    together = math.ceil(len(amplitude) / COLUMNS)  # the loudest of each few frames, so that no click is lost
    amplitude = np.maximum.reduceat(amplitude, np.arange(0, len(amplitude), together), axis=0)
    return (20 * np.log10(np.maximum(amplitude, 1e-8))).T.astype(np.float32)


def _wav(sound: npt.NDArray[np.float32]) -> bytes:
    """16-bit WAV of (T,) at the player's rate, made quieter where it would clip."""
    peak = float(np.abs(sound).max(initial=1.0))
    buffer = io.BytesIO()
    soundfile.write(buffer, sound / peak, PLAYER_RATE_HZ, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
