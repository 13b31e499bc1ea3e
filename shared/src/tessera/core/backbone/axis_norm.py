"""Batch norm along an axis of a picture instead of its channels."""

from __future__ import annotations

from torch import Tensor, nn


class AxisNorm(nn.Module):
    """Batch norm of (B, 1, H, W) with one mean and variance per row, or per column.

    Args:
        features: H for rows, W for columns.
        axis: 2 for rows, 3 for columns.
    """

    def __init__(self, features: int, *, axis: int) -> None:
        super().__init__()
        self.axis = axis
        self.norm = nn.BatchNorm2d(features)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 1, H, W) -> (B, 1, H, W)."""
        return self.norm(x.transpose(1, self.axis)).transpose(1, self.axis)
