"""Features of a long recording computed in pieces equal those computed in one piece."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tessera.audio.features import MFCC, MelSpectrogram, Spectrogram, features_in_chunks
from tessera.core.errors import ConfigError, DataError

Wave = NDArray[np.float32]
PARITY_DB = 1e-3


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


def reader(samples: Wave) -> tuple[Callable[[int, int], Tensor], list[int]]:
    """A read function over an array, and the lengths it was asked for."""
    lengths: list[int] = []

    def read(start: int, stop: int) -> Tensor:
        assert 0 <= start < stop <= samples.size
        lengths.append(stop - start)
        return torch.from_numpy(samples[start:stop])[None]

    return read, lengths


def test_a_minute_in_pieces_equals_one_piece() -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 60 * 22_050).astype(np.float32)
    front_end = MelSpectrogram(sample_rate_hz=22_050, top_db=80.0)
    read, lengths = reader(noise)
    pieces = features_in_chunks(front_end, read, noise.size, chunk_samples=int(7.3 * 22_050))
    torch.testing.assert_close(pieces, front_end(torch.from_numpy(noise)[None, None]), atol=PARITY_DB, rtol=0)
    assert len(lengths) == 9
    assert max(lengths) <= 7.3 * 22_050 + 1024


@settings(max_examples=60, deadline=None)
@given(
    n_samples=st.integers(1, 2000),
    chunk_samples=st.integers(1, 2500),
    n_fft=st.integers(16, 130),
    hop=st.integers(1, 200),
    pad_mode=st.sampled_from(["constant", "reflect"]),
    center=st.booleans(),
    normalize=st.sampled_from(["none", "per_clip"]),
)
def test_any_cut_equals_one_piece(
    n_samples: int, chunk_samples: int, n_fft: int, hop: int, pad_mode: Any, center: bool, normalize: Any
) -> None:
    front_end = MFCC(
        sample_rate_hz=8000,
        n_fft=n_fft,
        hop=hop,
        n_mels=6,
        n_mfcc=5,
        pad_mode=pad_mode,
        center=center,
        normalize=normalize,
        top_db=60.0,
    )
    samples = np.random.default_rng(n_samples).normal(0, 0.1, n_samples).astype(np.float32)
    read, _ = reader(samples)
    if n_samples < front_end.least_samples:
        with pytest.raises(DataError):
            features_in_chunks(front_end, read, n_samples, chunk_samples=chunk_samples)
        return
    pieces = features_in_chunks(front_end, read, n_samples, chunk_samples=chunk_samples)
    torch.testing.assert_close(
        pieces, front_end(torch.from_numpy(samples)[None, None]), atol=PARITY_DB, rtol=0
    )


def test_an_empty_chunk_is_refused() -> None:
    with pytest.raises(ConfigError, match="chunk"):
        features_in_chunks(
            Spectrogram(sample_rate_hz=8000), reader(np.zeros(8000, np.float32))[0], 8000, chunk_samples=0
        )
