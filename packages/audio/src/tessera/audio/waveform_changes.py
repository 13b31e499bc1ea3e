"""Changes of batches of waveforms (B, C, T), each row by its own amount; T and silence stay as they are."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

WOW_HZ = 2.0  # turns of a record player, roughly
_MEL_BREAK_HZ = 700.0  # O'Shaughnessy's mel scale


def at_speed(sound: Tensor, speed: Tensor) -> Tensor:
    """(B, C, T) read at ``speed`` (B,) times the rate, between samples on straight lines, then zeros."""
    # float64: float32 could not tell the neighbours of a place far into a long window apart
    samples = torch.arange(sound.shape[-1], device=sound.device, dtype=torch.float64)
    return _read(sound, samples * speed.to(sound.device).double()[:, None])


def _read(sound: Tensor, places: Tensor) -> Tensor:
    """(B, C, T) at places (B, T), samples from 0, between them on straight lines; zeros after the last."""
    last = sound.shape[-1] - 1
    places = places.clamp_min(0)
    before = places.floor().clamp_max(last)
    rest = (places - before).to(sound.dtype)[:, None].expand_as(sound)
    index = before.long()[:, None].expand_as(sound)
    between = torch.lerp(sound.gather(-1, index), sound.gather(-1, (index + 1).clamp_max(last)), rest)
    return torch.where((places <= last)[:, None], between, torch.zeros_like(between))


def at_tempo(sound: Tensor, tempo: Tensor, *, n_fft: int) -> Tensor:
    """(B, C, T) at ``tempo`` (B,) times the pace, its pitch kept, then zeros; what lies beyond T is lost.

    Phase vocoder (Flanagan and Golden 1966; Laroche and Dolson 1999) with Hann frames of ``n_fft`` samples, a
    quarter apart: magnitudes are read between frames on straight lines, phases advance as they did there.
    """
    rows, channels, length = sound.shape
    hop = n_fft // 4
    window = torch.hann_window(n_fft, device=sound.device)
    frames = torch.stft(
        sound.flatten(0, 1), n_fft, hop, window=window, pad_mode="constant", return_complex=True
    )
    frames = frames.view(rows, channels, *frames.shape[1:])
    count = frames.shape[-1]
    tempo = tempo.to(sound.device)
    places = torch.arange(count, device=sound.device, dtype=torch.float64) * tempo.double()[:, None]
    before = places.floor().clamp_max(count).long()[:, None, None].expand_as(frames)
    rest = (places - places.floor()).to(sound.dtype)[:, None, None].expand(frames.shape)
    frames = F.pad(frames, (0, 2))  # silence follows
    here, next_ = frames.gather(-1, before), frames.gather(-1, before + 1)
    magnitude = torch.lerp(here.abs(), next_.abs(), rest)
    turn = (next_ * here.conj()).angle().double()  # modulo 2 pi is all that a sum of phases needs
    phase = turn.cumsum(-1).roll(1, -1)
    phase[..., 0] = 0.0
    phase += frames[..., :1].angle().double()
    frames = torch.polar(magnitude, (phase % math.tau).to(sound.dtype))
    stretched = torch.istft(frames.flatten(0, 1), n_fft, hop, window=window, length=length)
    ends = (sounding_samples(sound) / tempo).ceil()
    audible = torch.arange(length, device=sound.device) < ends[:, None]
    return stretched.view_as(sound) * audible[:, None]


def at_pitch(sound: Tensor, semitones: Tensor, *, n_fft: int) -> Tensor:
    """(B, C, T) higher by ``semitones`` (B,), as long as before: another speed, and its pace undone."""
    length = sound.shape[-1]
    factor = 2.0 ** (semitones.to(sound.device) / 12)
    spare = math.ceil(length * max(0.0, float((1 / factor).max()) - 1))  # for what a lower speed draws out
    higher = at_speed(F.pad(sound, (0, spare)), factor)
    return at_tempo(higher, 1 / factor, n_fft=n_fft)[..., :length]


def placed(sound: Tensor, place: Tensor) -> Tensor:
    """(B, C, T) moved into the zeros that follow it: ``place`` (B,) 0 leaves it first, 1 puts it last."""
    room = sound.shape[-1] - sounding_samples(sound)
    return shifted(sound, (place.to(sound.device) * (room + 1)).long().minimum(room))


def shifted(sound: Tensor, shift: Tensor) -> Tensor:
    """(B, C, T) moved in a circle to later times by ``shift`` (B,) samples."""
    length = sound.shape[-1]
    source = (torch.arange(length, device=sound.device) - shift.to(sound.device)[:, None]) % length
    return sound.gather(-1, source[:, None].expand_as(sound))


def filtered(sound: Tensor, curve_db: Tensor, *, sample_rate_hz: float) -> Tensor:
    """(B, C, T) through a smooth response without delay.

    The gain in dB at mel ``m`` of ``top`` is the sum over k = 1, 2, ... of ``curve_db`` (B, K) times
    cos(pi k m / top).
    """
    length = sound.shape[-1]
    padded = 2 * length  # so that the end does not run into the beginning
    hertz = torch.fft.rfftfreq(padded, 1 / sample_rate_hz, device=sound.device)
    mel = torch.log1p(hertz / _MEL_BREAK_HZ) / math.log1p(sample_rate_hz / 2 / _MEL_BREAK_HZ)
    orders = torch.arange(1, curve_db.shape[1] + 1, device=sound.device)
    gain_db = curve_db.to(sound.device) @ torch.cos(math.pi * orders[:, None] * mel)
    spectrum = torch.fft.rfft(sound, padded) * 10 ** (gain_db / 20)[:, None]
    return torch.fft.irfft(spectrum, padded)[..., :length]


def in_rooms(sound: Tensor, response: Tensor) -> Tensor:
    """(B, C, T) through an impulse response (B, N) each, cut to T."""
    length = sound.shape[-1]
    response = response[:, :length].to(sound.device)
    padded = length + response.shape[-1] - 1
    padded += padded % 2
    spectrum = torch.fft.rfft(sound, padded) * torch.fft.rfft(response, padded)[:, None]
    return torch.fft.irfft(spectrum, padded)[..., :length]


def with_noise(sound: Tensor, noise: Tensor, snr_db: Tensor) -> Tensor:
    """(B, C, T) plus ``noise``, scaled per row to ``snr_db`` (B,) below the mean power of the window."""
    power = sound.square().mean(dim=(1, 2), keepdim=True)
    noise = noise.to(sound.device)
    ratio = 10 ** (-snr_db.to(sound.device) / 10)[:, None, None]
    return sound + noise * (power * ratio / noise.square().mean(dim=(1, 2), keepdim=True)).sqrt()


def clipped(sound: Tensor, percent: Tensor) -> Tensor:
    """(B, C, T), each row cut at the (100 - ``percent`` (B,))th percentile of its absolute values."""
    levels = sound.abs().flatten(1).sort(dim=1).values
    place = (1 - percent.to(sound.device) / 100) * (levels.shape[1] - 1)
    below = place.floor().long()[:, None]
    above = (below + 1).clamp_max(levels.shape[1] - 1)
    limit = torch.lerp(levels.gather(1, below), levels.gather(1, above), (place - place.floor())[:, None])
    return sound.clamp(-limit[..., None], limit[..., None])


def with_wow(sound: Tensor, depth: Tensor, *, sample_rate_hz: float, rate_hz: float = WOW_HZ) -> Tensor:
    """(B, C, T) at a speed that swings by ``depth`` (B,): read at t + depth sin(2 pi f t) / (2 pi f)."""
    samples = torch.arange(sound.shape[-1], device=sound.device, dtype=torch.float64)
    turn = math.tau * rate_hz / sample_rate_hz
    return _read(sound, samples + depth.to(sound.device).double()[:, None] * torch.sin(turn * samples) / turn)


def distorted(sound: Tensor, drive: Tensor) -> Tensor:
    """(B, C, T) through sin(``drive`` (B,) x / peak), each row of the same mean power as before.

    A sine becomes its odd harmonics, the amplitude of the kth that of the Bessel function J_k(drive).
    """
    peak = sound.abs().amax(dim=(1, 2), keepdim=True)
    bent = torch.sin(drive.to(sound.device)[:, None, None] * sound / _not_zero(peak))
    power, new = (x.square().mean(dim=(1, 2), keepdim=True) for x in (sound, bent))
    return bent * (power / _not_zero(new)).sqrt()


def compressed(sound: Tensor, threshold_db: Tensor, *, ratio: float = 2.0) -> Tensor:
    """(B, C, T), where what exceeds ``threshold_db`` (B,) below the row's peak is brought nearer to it.

    By ``ratio`` in decibels, sample by sample: without attack and release.
    """
    peak = sound.abs().amax(dim=(1, 2), keepdim=True)
    threshold = _not_zero(peak * 10 ** (threshold_db.to(sound.device)[:, None, None] / 20))
    return sound * (sound.abs() / threshold).clamp_min(1.0) ** (1 / ratio - 1)


def _not_zero(x: Tensor) -> Tensor:
    return torch.where(x > 0, x, torch.ones_like(x))


def sounding_samples(sound: Tensor) -> Tensor:
    """Samples of each row of (B, C, T) before the zeros at its end, (B,)."""
    length = sound.shape[-1]
    place = torch.arange(1, length + 1, device=sound.device)
    return torch.where((sound != 0).any(dim=1), place, 0).amax(dim=-1)
