"""Every plug in the tables works inside a tiny network, or refuses the dimension by its number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import nn

from tessera.core.backbone import SpatialDims, slots
from tessera.core.backbone.encoders import Classifier, Encoder
from tessera.core.backbone.layout import EncoderLayout

from .checks import DIMS, check_gradients, check_rows_are_independent

SIZES = {1: (33,), 2: (17, 18), 3: (9, 8, 7)}
CLASSES = 3
TINY = EncoderLayout(
    widths=(8, 16),
    depths=(1, 2),
    strides=(1, 2),
    ratio=0.5,
    stem="conv",
    stem_width=8,
    stem_stride=1,
    stem_pool=None,
)
INPUT_MAPS = {"log_polar"}  # of the slot down, but before the stem only
TABLES: dict[str, Mapping[str, object]] = {
    "gate": slots.GATES,
    "adn": slots.ADNS,
    "down": slots.DOWNS,
    "head": slots.HEADS,
    "mixer": slots.MIXERS,
    "route": slots.ROUTES,
    "ffn": slots.FFNS,
}
EVERY_PLUG = [(slot, name) for slot, table in TABLES.items() for name in table]


def tiny_network(slot: str, name: str, spatial_dims: SpatialDims) -> nn.Module:
    layout = replace(TINY, input_size=SIZES[spatial_dims])
    if slot == "ffn":
        layout = replace(layout, block="metaformer", adn="ln_gelu", ffn=name)
    elif name in INPUT_MAPS:
        layout = replace(layout, input_map=name)
    elif slot != "head":
        layout = replace(layout, **{slot: name})  # type: ignore[arg-type]
    encoder = Encoder(spatial_dims, in_channels=2, layout=layout)
    return Classifier(encoder, CLASSES, head=name if slot == "head" else "mean")


def build_or_refuse(slot: str, name: str, spatial_dims: SpatialDims) -> nn.Module | None:
    try:
        return tiny_network(slot, name, spatial_dims)
    except ValueError as error:
        assert f"spatial_dims={spatial_dims}" in str(error), f"{slot} {name} does not name the dimension"
        return None


def test_every_table_is_tested() -> None:
    tables = {name for name, value in vars(slots).items() if name.isupper() and isinstance(value, dict)}
    assert tables == {f"{slot.upper()}S" for slot in TABLES} | {"WEIGHTS"}


@pytest.mark.parametrize("spatial_dims", DIMS)
@pytest.mark.parametrize(("slot", "name"), EVERY_PLUG, ids=[f"{slot}-{name}" for slot, name in EVERY_PLUG])
def test_plug_trains_in_a_tiny_network_or_refuses_the_dimension(
    slot: str, name: str, spatial_dims: SpatialDims
) -> None:
    network = build_or_refuse(slot, name, spatial_dims)
    if network is None:
        return
    x = torch.randn(2, 2, *SIZES[spatial_dims])
    assert network.train()(x).shape == (2, CLASSES)
    check_gradients(network, x)
    check_rows_are_independent(network, x, 1e-5)


@pytest.mark.parametrize(("slot", "name"), EVERY_PLUG, ids=[f"{slot}-{name}" for slot, name in EVERY_PLUG])
def test_plug_serves_at_least_one_dimension(slot: str, name: str) -> None:
    with torch.device("meta"):
        assert any(build_or_refuse(slot, name, d) is not None for d in DIMS)
