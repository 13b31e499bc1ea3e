"""Coarse maps on fine grids, against torch's own interpolation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tessera.core.explain.grids import enlarge, read_linearly

MODES = {1: "linear", 2: "bilinear", 3: "trilinear"}


@pytest.mark.parametrize("size", [(7,), (4, 9), (3, 5, 6)])
@pytest.mark.parametrize("coarse", [1, 2, 5])
def test_enlarging_agrees_with_torch(size: tuple[int, ...], coarse: int) -> None:
    map = torch.randn(2, *(coarse,) * len(size))
    expected = F.interpolate(map[:, None], size, mode=MODES[len(size)], align_corners=False)[:, 0]
    torch.testing.assert_close(enlarge(map, size), expected)


def test_reading_agrees_with_numpy_at_uneven_places() -> None:
    values, places = torch.tensor([[1.0, 4.0, -2.0]]), torch.tensor([1.5, 2.0, 6.0], dtype=torch.float64)
    expected = np.interp(np.arange(9), places.numpy(), values[0].numpy())
    np.testing.assert_allclose(read_linearly(values, [places], (9,))[0].numpy(), expected, atol=1e-6)
