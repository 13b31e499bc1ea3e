"""Colours whose steps look equally large, and overlays that show what lies below."""

from __future__ import annotations

import io

import numpy as np
from matplotlib import colormaps
from PIL import Image

from tessera.astronomy.colour_maps import OPAQUE, VIRIDIS, coloured, overlay_png


def test_colours_are_those_of_matplotlib() -> None:
    shares = np.linspace(0.0, 1.0, 101)[None]
    expected = colormaps["viridis"](shares)[..., :3] * 255
    assert np.abs(coloured(shares).astype(float) - expected).max() < 6  # read between 17 of its colours
    ends = [tuple(int(colour[i : i + 2], 16) for i in (1, 3, 5)) for colour in (VIRIDIS[0], VIRIDIS[-1])]
    assert [tuple(coloured(np.array([[x]]))[0, 0]) for x in (-1.0, 2.0)] == ends


def test_an_overlay_is_transparent_where_there_is_nothing() -> None:
    shares = np.array([[-0.5, 0.0, 0.25], [0.5, 1.0, np.nan]])
    image = Image.open(io.BytesIO(overlay_png(shares)))
    assert image.mode == "P"
    found = np.asarray(image.convert("RGBA"))
    alpha = found[..., 3]
    assert alpha[0, :2].tolist() == [0, 0]
    assert alpha[1, 2] == 0
    assert 0 < alpha[0, 2] < alpha[1, 0] < alpha[1, 1] == OPAQUE
    np.testing.assert_array_equal(found[1, 1, :3], coloured(np.array([[1.0]]))[0, 0])
