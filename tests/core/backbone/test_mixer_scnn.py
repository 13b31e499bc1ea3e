"""Message passing between slices against the worked example of its sheet."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tessera.core.backbone import SpatialDims
from tessera.core.backbone.slots import build_mixer

from .checks import DIMS, check_plug, strided


def parameter_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def passes(mixer: nn.Module, values: list[float]) -> nn.Module:
    """Give each pass of one channel and kernel 1 its value."""
    with torch.no_grad():
        for weight, value in zip(mixer.parameters(), values, strict=True):
            weight.fill_(value)
    return mixer


@pytest.mark.parametrize(("c_out", "stride"), [(8, 1), (6, 2)])
@pytest.mark.parametrize("spatial_dims", DIMS)
def test_scnn_is_a_good_plug(spatial_dims: SpatialDims, c_out: int, stride: int) -> None:
    check_plug(
        lambda d: build_mixer("scnn", d, 8, c_out, stride, kernel=3),
        spatial_dims,
        expected=strided(c_out, stride),
    )


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 0, 0, 0], [1, -3.5, 2]),
        ([0.5, 0.5, 0, 0], [1, -2.5, 2]),
        ([0, 0.5, 0, 0], [1, -3, 2]),
    ],
)
def test_scnn_down_and_up_a_column_gives_the_worked_example(
    values: list[float], expected: list[float]
) -> None:
    mixer = passes(build_mixer("scnn", 2, 1, 1, kernel=1), values)
    column = torch.tensor([1.0, -4, 2]).reshape(1, 1, 3, 1)
    assert mixer(column).flatten().tolist() == expected


def test_scnn_right_and_left_along_a_row_comes_after_the_columns() -> None:
    mixer = passes(build_mixer("scnn", 2, 1, 1, kernel=1), [0, 0, 0.5, 0.5])
    row = torch.tensor([1.0, -4, 2]).reshape(1, 1, 1, 3)
    assert mixer(row).flatten().tolist() == [1, -2.5, 2]
    mixer = passes(mixer, [1, 0, 1, 0])
    corner = torch.zeros(1, 1, 2, 2)
    corner[..., 0, 0] = 1
    assert mixer(corner).flatten().tolist() == [1, 1, 1, 1]


def test_scnn_in_a_sequence_passes_to_the_end_and_back() -> None:
    mixer = passes(build_mixer("scnn", 1, 1, 1), [0.5, 0.5])
    assert mixer(torch.tensor([[[1.0, -4, 2]]])).flatten().tolist() == [1, -2.5, 2]


@pytest.mark.parametrize("spatial_dims", DIMS)
def test_scnn_messages_of_a_positive_map_add_up(spatial_dims: SpatialDims) -> None:
    mixer = passes(build_mixer("scnn", spatial_dims, 1, 1, kernel=1), [1, 0] * spatial_dims)
    x = torch.rand(1, 1, *range(3, 3 + spatial_dims))
    expected = x
    for axis in range(spatial_dims):
        expected = expected.cumsum(axis + 2)
    torch.testing.assert_close(mixer(x), expected)


def test_scnn_message_spreads_over_the_kernel_within_a_slice() -> None:
    mixer = build_mixer("scnn", 2, 2, 2, kernel=3)
    down = next(mixer.parameters())
    with torch.no_grad():
        for weight in list(mixer.parameters())[1:]:
            weight.zero_()
    x = torch.randn(1, 2, 2, 5)
    message = F.conv2d(x[:, :, :1], down.unsqueeze(2), padding=(0, 1)).relu()
    expected = torch.cat([x[:, :, :1], x[:, :, 1:] + message], dim=2)
    torch.testing.assert_close(mixer(x), expected)


@pytest.mark.parametrize(("spatial_dims", "expected"), [(1, 2 * 128**2), (2, 589_824), (3, 6 * 128**2 * 81)])
def test_scnn_has_the_parameters_of_the_sheet(spatial_dims: SpatialDims, expected: int) -> None:
    with torch.device("meta"):
        assert parameter_count(build_mixer("scnn", spatial_dims, 128, 128)) == expected


def test_scnn_starts_with_the_authors_deviation() -> None:
    first = next(build_mixer("scnn", 2, 64, 64).parameters())
    assert first.var().item() == pytest.approx(2 / (9 * 64**2 * 5), rel=0.03)


def test_scnn_kernel_without_a_middle_is_refused() -> None:
    with pytest.raises(ValueError, match="kernel 4"):
        build_mixer("scnn", 2, 8, 8, kernel=4)
