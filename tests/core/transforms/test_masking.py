from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.errors import ConfigError
from tessera.core.transforms.masking import AxisMask, AxisMaskParams


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_hidden_places_take_the_row_mean_and_the_rest_stays() -> None:
    params = AxisMaskParams(
        start=(torch.tensor([[1], [0]]), torch.tensor([[3], [0]])),
        width=(torch.tensor([[1], [0]]), torch.tensor([[1], [2]])),
    )
    x = torch.arange(24.0).reshape(2, 1, 3, 4)
    masked = AxisMask([1, 1], [0.5, 0.5]).apply(x, params)
    assert masked[0, 0].tolist() == [[0, 1, 2, 5.5], [5.5] * 4, [8, 9, 10, 5.5]]
    assert masked[1, 0].tolist() == [[17.5, 17.5, 14, 15], [17.5, 17.5, 18, 19], [17.5, 17.5, 22, 23]]


def test_all_channels_are_hidden_together() -> None:
    mask = AxisMask([1], [0.9])
    x = torch.randn(8, 3, 40, generator=generator())
    params = mask.draw(x.shape, generator(1))
    changed = mask.apply(x, params) != x
    assert bool((changed == changed[:, :1]).all())
    assert changed[:, 0].sum(dim=1).tolist() == params.width[0][:, 0].tolist()


@given(seed=st.integers(0, 1000), size=st.integers(1, 50), share=st.floats(0, 1), count=st.integers(1, 4))
def test_masks_lie_inside_the_axis_and_are_no_wider_than_asked(
    seed: int, size: int, share: float, count: int
) -> None:
    params = AxisMask([count], [share]).draw(torch.Size([4, 1, size]), generator(seed))
    start, width = params.start[0], params.width[0]
    assert int(start.min()) >= 0
    assert int((start + width).max()) <= size
    assert int(width.max()) <= share * size


def test_widths_and_starts_are_uniform() -> None:
    params = AxisMask([1], [0.4]).draw(torch.Size([30_000, 1, 10]), generator())
    widths = torch.bincount(params.width[0][:, 0], minlength=5) / 30_000
    assert widths.tolist() == pytest.approx([0.2] * 5, abs=0.01)
    starts = params.start[0][params.width[0] == 4]  # a width of 4 on 10 elements has 7 places
    assert (torch.bincount(starts) / len(starts)).tolist() == pytest.approx([1 / 7] * 7, abs=0.02)


def test_rows_are_masked_independently() -> None:
    params = AxisMask([2], [0.5]).draw(torch.Size([16, 1, 100]), generator())
    assert len({tuple(row) for row in params.start[0].tolist()}) > 8


def test_numbers_that_do_not_fit_the_features_are_refused() -> None:
    with pytest.raises(ConfigError, match="differ in length"):
        AxisMask([1, 1], [0.1])
    with pytest.raises(ConfigError, match="does not fit the features"):
        AxisMask([1], [0.1]).draw(torch.Size([2, 1, 8, 8]), generator())
