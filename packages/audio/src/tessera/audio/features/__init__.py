"""Front ends: waveform (B, 1, T) in, pictures (B, 1, rows, frames) out, on the model's device."""

from tessera.audio.features.chunks import features_in_chunks
from tessera.audio.features.constant_q import ConstantQ
from tessera.audio.features.filter_bank import FilterBank, FilterBankOptions, Kernel
from tessera.audio.features.front_end import FrontEnd, FrontEndOptions
from tessera.audio.features.gammatone import Gammatone
from tessera.audio.features.mel import dct_matrix, hz_to_mel, mel_filter_bank, mel_to_hz
from tessera.audio.features.mel_spectrogram import MFCC, MelOptions, MelSpectrogram
from tessera.audio.features.scalogram import Scalogram
from tessera.audio.features.spectrogram import LinearBands, Spectrogram, SpectrogramOptions

__all__ = [
    "MFCC",
    "ConstantQ",
    "FilterBank",
    "FilterBankOptions",
    "FrontEnd",
    "FrontEndOptions",
    "Gammatone",
    "Kernel",
    "LinearBands",
    "MelOptions",
    "MelSpectrogram",
    "Scalogram",
    "Spectrogram",
    "SpectrogramOptions",
    "dct_matrix",
    "features_in_chunks",
    "hz_to_mel",
    "mel_filter_bank",
    "mel_to_hz",
]
