"""Batch norm along one axis of a picture, against its definition."""

from __future__ import annotations

import pytest
import torch

from tessera.core.backbone import AxisNorm


@pytest.mark.parametrize(("axis", "features", "others"), [(2, 5, (0, 1, 3)), (3, 7, (0, 1, 2))])
def test_each_row_or_column_gets_mean_zero_and_variance_one(
    axis: int, features: int, others: tuple[int, ...]
) -> None:
    x = torch.randn(4, 1, 5, 7) * 3 + torch.randn(1, 1, 5, 7)
    normed = AxisNorm(features, axis=axis)(x)
    assert normed.shape == x.shape
    torch.testing.assert_close(normed.mean(others), torch.zeros(features), rtol=0, atol=1e-5)
    torch.testing.assert_close(normed.var(others, correction=0), torch.ones(features), rtol=1e-3, atol=0)
