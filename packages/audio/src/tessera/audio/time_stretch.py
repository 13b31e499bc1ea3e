"""Other paces at the same pitch, (B, C, T); what lies beyond T is lost, zeros follow the end.

Overlap-add; its variant that looks for the best overlap (WSOLA, Verhelst and Roelands 1993); and both parts
of a sound each in its own way, harmonic ones by the phase vocoder, percussive ones by overlap-add (Driedger,
Mueller and Ewert 2014) after medians of the spectrogram (Fitzgerald 2010).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tessera.audio.waveform_changes import at_tempo, sounding_samples

MEDIAN = 17  # frames and bins, Fitzgerald's
PERCUSSIVE_SHARE = 8  # frames of the vocoder over those of the percussive part: a click stays short


def by_overlap(sound: Tensor, tempo: Tensor, *, frame: int) -> Tensor:
    """(B, C, T) at ``tempo`` (B,): Hann frames of ``frame`` samples, half over each other, laid elsewhere."""
    return _laid(sound, _starts(sound, tempo, frame=frame), tempo, frame=frame)


def by_best_overlap(sound: Tensor, tempo: Tensor, *, frame: int) -> Tensor:
    """(B, C, T) at ``tempo`` (B,): as `by_overlap`, each frame moved to continue the one before it.

    By at most a quarter of a frame, to where its correlation with what followed there is greatest.
    """
    reach, hop = frame // 4, frame // 2
    ideal = _starts(sound, tempo, frame=frame)
    padded = _padded(sound, frame)
    before = ideal[:, 0]
    starts = [before]
    for place in ideal.unbind(1)[1:]:
        wanted = _cut(padded, before + hop, frame, frame=frame)
        size = frame + 2 * reach
        around = _cut(padded, place - reach, size, frame=frame)
        product = torch.fft.rfft(around, size) * torch.fft.rfft(wanted, size).conj()
        likeness = torch.fft.irfft(product, size)[..., : 2 * reach + 1].sum(dim=1)
        before = (place - reach + likeness.argmax(dim=1)).clamp_min(-hop)
        starts.append(before)
    return _laid(sound, torch.stack(starts, dim=1), tempo, frame=frame)


def by_parts(sound: Tensor, tempo: Tensor, *, n_fft: int) -> Tensor:
    """(B, C, T) at ``tempo`` (B,): tones by the phase vocoder, clicks by overlap-add of short frames."""
    tones, clicks = harmonic_and_percussive(sound, n_fft=n_fft)
    short = max(4, n_fft // PERCUSSIVE_SHARE // 2 * 2)
    changed = at_tempo(tones, tempo, n_fft=n_fft) + by_overlap(clicks, tempo, frame=short)
    return changed * _audible(sound, tempo)


def harmonic_and_percussive(sound: Tensor, *, n_fft: int) -> tuple[Tensor, Tensor]:
    """(B, C, T) -> two sounds that add up to it: what lasts, and what is over at once."""
    window = torch.hann_window(n_fft, device=sound.device)
    frames = torch.stft(
        sound.flatten(0, 1), n_fft, n_fft // 4, window=window, pad_mode="constant", return_complex=True
    )
    power = frames.abs().square()
    lasting, sudden = _median(power, 2).square(), _median(power, 1).square()
    total = lasting + sudden
    share = torch.where(total > 0, lasting / total, torch.full_like(total, 0.5))
    tones = torch.istft(frames * share, n_fft, n_fft // 4, window=window, length=sound.shape[-1])
    tones = tones.view_as(sound)
    return tones, sound - tones


def _median(x: Tensor, axis: int) -> Tensor:
    """(N, F, T), each value the median of MEDIAN neighbours along an axis; the ends repeat."""
    half = MEDIAN // 2
    ends = (half, half, 0, 0) if axis == 2 else (0, 0, half, half)
    return F.pad(x, ends, mode="replicate").unfold(axis, MEDIAN, 1).median(dim=-1).values


def _starts(sound: Tensor, tempo: Tensor, *, frame: int) -> Tensor:
    """(B, M) where the frames are cut from, the first half a frame before the sound."""
    hop = frame // 2
    laid = torch.arange(-hop, sound.shape[-1], hop, device=sound.device)
    places = (laid + hop) * tempo.to(sound.device).double()[:, None] - hop
    return places.round().long().clamp_max(sound.shape[-1])


def _laid(sound: Tensor, starts: Tensor, tempo: Tensor, *, frame: int) -> Tensor:
    """Frames cut at ``starts`` (B, M), laid half a frame apart, and silence after the sound's new end."""
    rows, channels, length = sound.shape
    hop, count = frame // 2, starts.shape[1]
    window = torch.hann_window(frame, device=sound.device)  # periodic: halves that overlap add up to 1
    padded = _padded(sound, frame)
    frames = torch.stack([_cut(padded, start, frame, frame=frame) for start in starts.unbind(1)], dim=-1)
    frames = (frames * window[:, None]).view(rows * channels, frame, count)
    size = (count - 1) * hop + frame
    added = F.fold(frames, (1, size), (1, frame), stride=(1, hop)).view(rows, channels, size)
    return added[..., hop : hop + length] * _audible(sound, tempo)


def _audible(sound: Tensor, tempo: Tensor) -> Tensor:
    """(B, 1, T) whether a sample at the new pace comes before the zeros at the sound's end."""
    ends = (sounding_samples(sound) / tempo.to(sound.device)).ceil()
    return torch.arange(sound.shape[-1], device=sound.device) < ends[:, None, None]


def _padded(sound: Tensor, frame: int) -> Tensor:
    """(B, C, T) with zeros on both sides, so that every frame can be cut; see `_cut`."""
    return F.pad(sound, (2 * frame, 3 * frame))


def _cut(padded: Tensor, start: Tensor, size: int, *, frame: int) -> Tensor:
    """(B, C, size) from ``start`` (B,) of the sound that `_padded` holds."""
    places = start[:, None] + 2 * frame + torch.arange(size, device=padded.device)
    return padded.gather(-1, places[:, None].expand(-1, padded.shape[1], -1))
