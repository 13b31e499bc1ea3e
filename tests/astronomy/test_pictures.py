from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tessera.astronomy.pictures import read_picture
from tessera.core.errors import DataError

COLOUR = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)


def saved(path: Path, values: np.ndarray, **options: object) -> Path:
    Image.fromarray(values).save(path, **options)
    return path


def test_colours_come_first_and_the_top_row_is_row_0(tmp_path: Path) -> None:
    found = read_picture(saved(tmp_path / "a.png", COLOUR))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, COLOUR.transpose(2, 0, 1))


def test_grey_deep_and_black_and_white_pictures_are_one_channel(tmp_path: Path) -> None:
    deep = np.array([[0, 1], [300, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(read_picture(saved(tmp_path / "a.png", deep)), deep[None])
    np.testing.assert_array_equal(
        read_picture(saved(tmp_path / "b.png", COLOUR[..., 0])), COLOUR[None, ..., 0]
    )
    Image.fromarray(np.eye(3, dtype=bool)).save(tmp_path / "c.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "c.png"), 255 * np.eye(3)[None])


def test_a_palette_stands_for_its_colours(tmp_path: Path) -> None:
    Image.fromarray(COLOUR).quantize(20).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_picture(tmp_path / "a.png"), COLOUR.transpose(2, 0, 1))


def test_transparent_pixels_are_not_a_number(tmp_path: Path) -> None:
    alpha = np.full((4, 5, 1), 255, dtype=np.uint8)
    alpha[1, 2] = 0
    found = read_picture(saved(tmp_path / "a.png", np.concatenate([COLOUR, alpha], axis=2)))
    assert found.shape == (3, 4, 5)
    assert np.argwhere(np.isnan(found)).tolist() == [[0, 1, 2], [1, 1, 2], [2, 1, 2]]


def test_jpegs_are_read_nearly_as_they_were(tmp_path: Path) -> None:
    smooth = np.tile(np.linspace(0, 255, 32).astype(np.uint8)[:, None, None], (1, 32, 3))
    found = read_picture(saved(tmp_path / "a.jpg", smooth, quality=95))
    np.testing.assert_allclose(found, smooth.transpose(2, 0, 1), atol=6)


def test_damaged_pictures_are_named(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    for name in ("a.jpg", "a.png"):
        path = saved(tmp_path / name, noise)
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(DataError, match="cannot read"):
            read_picture(path)
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match="cannot read"):
        read_picture(tmp_path / "b.png")
    with pytest.raises(DataError, match="there is no file"):
        read_picture(tmp_path / "c.png")
