"""Small networks of Kolmogorov-Arnold convolutions for images of 28 x 28.

Bodner et al., "Convolutional Kolmogorov-Arnold Networks", arXiv 2406.13155. Here for signals and
volumes, too.
"""

from __future__ import annotations

from torch import Tensor, nn

from tessera.core.backbone.blocks import SpatialDims, max_pool
from tessera.core.backbone.slots.mixer_conv_kan import ConvKANMixer

SIZE = 28  # of every axis of the input
POOLED = 5  # of every axis after two convolutions without padding and two pools


class KANConvs(nn.Module):
    """Two Kolmogorov-Arnold convolutions of size 3, each followed by a max pool of 2.

    Args:
        spatial_dims: Number of axes in S, all of size 28.
        c_in: Channels of the input.
        widths: Channels of the convolutions; (5, 5) in the small networks, (5, 10) in the medium ones.
        intervals: Intervals of the splines.
    """

    def __init__(
        self, spatial_dims: SpatialDims, c_in: int, *, widths: tuple[int, int] = (5, 5), intervals: int = 10
    ) -> None:
        super().__init__()
        self.first = ConvKANMixer(spatial_dims, c_in, widths[0], padding=0, intervals=intervals)
        self.second = ConvKANMixer(spatial_dims, widths[0], widths[1], padding=0, intervals=intervals)
        self.pool = max_pool(spatial_dims, 2)
        self.features = widths[1] * POOLED**spatial_dims

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> (B, features)."""
        if set(x.shape[2:]) != {SIZE}:
            raise ValueError(
                f"a map of size {tuple(x.shape[2:])} does not fit; every axis must be {SIZE} long"
            )
        return self.pool(self.second(self.pool(self.first(x)))).flatten(1)


class KANCMLP(nn.Module):
    """Kolmogorov-Arnold convolutions, then a linear layer: 5,310 parameters by default.

    Args:
        spatial_dims: Number of axes in S, all of size 28.
        c_in: Channels of the input.
        num_classes: K.
        widths: See `KANConvs`.
        intervals: Intervals of the splines.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims = 2,
        c_in: int = 1,
        num_classes: int = 10,
        *,
        widths: tuple[int, int] = (5, 5),
        intervals: int = 10,
    ) -> None:
        super().__init__()
        self.convs = KANConvs(spatial_dims, c_in, widths=widths, intervals=intervals)
        self.linear = nn.Linear(self.convs.features, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> logits (B, K)."""
        return self.linear(self.convs(x))


class KKAN(nn.Module):
    """Kolmogorov-Arnold convolutions, then a Kolmogorov-Arnold layer: 22,800 parameters by default.

    Args:
        spatial_dims: Number of axes in S, all of size 28.
        c_in: Channels of the input.
        num_classes: K.
        widths: See `KANConvs`.
        intervals: Intervals of the splines.
    """

    def __init__(
        self,
        spatial_dims: SpatialDims = 2,
        c_in: int = 1,
        num_classes: int = 10,
        *,
        widths: tuple[int, int] = (5, 5),
        intervals: int = 10,
    ) -> None:
        super().__init__()
        self.convs = KANConvs(spatial_dims, c_in, widths=widths, intervals=intervals)
        self.classes = ConvKANMixer(1, self.convs.features, num_classes, kernel=1, intervals=intervals)

    def forward(self, x: Tensor) -> Tensor:
        """(B, c_in, *S) -> logits (B, K)."""
        return self.classes(self.convs(x).unsqueeze(2)).squeeze(2)
