"""Configs of slots and networks: one line a plug, names without torch, the same values as the network's."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from tessera.core.backbone import slots
from tessera.core.backbone.layout import EncoderLayout
from tessera.core.backbone.reference.resnets import RESNET_LAYOUTS
from tessera.core.backbone.slots.gate import ECAGate
from tessera.core.backbone_config import (
    PLUG_NAMES,
    RESNET_BASES,
    ClassifierConfig,
    EncoderConfig,
    PyramidConfig,
    TimmEncoderConfig,
    UNetConfig,
)
from tessera.core.config import ConfigT, loads_yaml, validate
from tessera.core.errors import ConfigError

TINY = "widths: [8, 12], depths: [1, 1], strides: [1, 2], stem: conv, stem_width: 8, stem_pool: null"


def read(kind: type[ConfigT], text: str) -> ConfigT:
    return validate(kind, loads_yaml(text, source="preset"), source="preset")


def gates(network: nn.Module) -> list[str]:
    return [type(m).__name__ for m in network.modules() if type(m).__name__.endswith("Gate")]


def test_names_are_those_of_the_tables() -> None:
    """A new plug needs its name in PLUG_NAMES too."""
    tables = {
        name: table for name, table in vars(slots).items() if name.isupper() and isinstance(table, dict)
    }
    assert set(tables) == {f"{slot.upper()}{'' if slot == 'weights' else 'S'}" for slot in PLUG_NAMES}
    for slot, names in PLUG_NAMES.items():
        table = tables[f"{slot.upper()}{'' if slot == 'weights' else 'S'}"]
        assert names == tuple(sorted(table)), f"PLUG_NAMES[{slot!r}] differs from its table"


def test_encoder_config_has_the_fields_and_defaults_of_the_layout() -> None:
    layout = dataclasses.asdict(EncoderLayout())
    assert set(EncoderConfig.model_fields) == {*layout, "kind", "base"}
    for name, value in dataclasses.asdict(EncoderConfig().layout()).items():
        assert value in (layout[name], {"kind": layout[name]}), name


@pytest.mark.parametrize("base", RESNET_BASES)
def test_bases_are_the_layouts_of_the_same_name(base: str) -> None:
    layout = dataclasses.asdict(RESNET_LAYOUTS[base])
    for name, value in dataclasses.asdict(EncoderConfig.model_validate({"base": base}).layout()).items():
        assert value in (layout[name], {"kind": layout[name]}), name


def test_every_resnet_layout_is_a_base() -> None:
    assert set(RESNET_BASES) == set(RESNET_LAYOUTS)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("gate: eca", ["ECAGate", "ECAGate"]),
        ("gate: {kind: eca, kernel: 5}", ["ECAGate", "ECAGate"]),
        ("gate: [se, {kind: eca, kernel: 7}]", ["SEGate", "ECAGate"]),
        ("gate: [se, identity]", ["SEGate"]),
    ],
)
def test_one_line_chooses_the_gate(line: str, expected: list[str]) -> None:
    network = read(ClassifierConfig, f"encoder: {{{TINY}, {line}}}").build(2, 1, 5)
    assert gates(network) == expected
    assert network(torch.randn(2, 1, 16, 16)).shape == (2, 5)


def test_options_reach_the_plug() -> None:
    network = read(ClassifierConfig, f"encoder: {{{TINY}, gate: {{kind: eca, kernel: 7}}}}").build(1, 1, 5)
    kernels = [m.conv.weight.shape[-1] for m in network.modules() if isinstance(m, ECAGate)]
    assert kernels == [7, 7]


def test_base_gives_defaults_that_the_other_lines_override() -> None:
    config = read(EncoderConfig, "{base: se_resnet50, depths: [1, 1, 1, 1]}")
    assert (config.widths, config.depths) == ((256, 512, 1024, 2048), (1, 1, 1, 1))
    assert config.layout().gate == {"kind": "se"}


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (
            ClassifierConfig,
            "encoder: {base: resnet50, gate: {kind: eca, kernel: 5}, down: [null, max, max, max]}",
        ),
        (ClassifierConfig, "{weights: [none, lecun_normal], head: {kind: mean_max, dropout: 0.1}}"),
        (UNetConfig, "{skip: sum, deep_supervision: 2, encoder: {block: metaformer, adn: ln_gelu}}"),
        (
            PyramidConfig,
            "encoder: {kind: timm, name: resnet18, mean: [0.5], std: [0.5], weights: a.safetensors}",
        ),
    ],
)
def test_written_out_config_is_read_back_as_the_same(kind: type[ConfigT], text: str) -> None:
    config = read(kind, text)
    again = validate(kind, json.loads(config.model_dump_json()), source="run folder")
    assert again == config


@pytest.mark.parametrize(
    ("line", "field", "message"),
    [
        ("gate: sse", "encoder.gate", "there is no gate 'sse'; choose one of: .*eca"),
        ("gate: [se, sse]", "encoder.gate", "there is no gate 'sse'"),
        ("gate: {kernel: 5}", "encoder.gate", "a name under kind beside its options"),
        ("gate: null", "encoder.gate", ""),
        ("stem: [conv, max]", "encoder.stem", ""),
        ("mixer: 3", "encoder.mixer", "a mixer is a name"),
        ("base: resnet51", "encoder", "choose one of: resnet18"),
        ("depths: [2, 0]", "encoder.depths.1", "greater than 0"),
        ("gaet: se", "encoder.gaet", ""),
    ],
)
def test_bad_line_is_told_with_its_field(line: str, field: str, message: str) -> None:
    with pytest.raises(ConfigError, match=rf"preset: .*{field}\b(?s:.*){message}"):
        read(ClassifierConfig, f"encoder: {{{line}}}")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "strides: [1, 2], gate: {kind: se, reduction: 4}",
            "no option 'reduction'; its options: ratio, bias",
        ),
        ("strides: [1, 2], gate: [se]", "gate: 1 plugs for 2 stages"),
        ("strides: [1, 2], mixer: token_mlp", "give the network an input_size"),
        ("strides: [1]", "2 widths, 2 depths and 1 strides"),
    ],
)
def test_what_only_the_builder_knows_is_an_error_of_the_config_too(line: str, message: str) -> None:
    config = read(ClassifierConfig, f"encoder: {{widths: [8, 12], depths: [1, 1], {line}}}")
    with pytest.raises(ConfigError, match=message):
        config.build(2, 1, 5)


@pytest.mark.parametrize("shape", [(2, 40), (1, 21, 13), (3, 9, 10, 11)])
def test_a_network_for_one_shape_of_input_tells_it_to_its_plugs(shape: tuple[int, ...]) -> None:
    config = read(ClassifierConfig, f"encoder: {{{TINY}, gate: ge}}")  # weights for each place of the map
    network = config.build_for(shape, 5).eval()
    assert network(torch.randn(2, *shape)).shape == (2, 5)
    with pytest.raises(ValueError, match="was built for maps of"):
        network(torch.randn(2, shape[0], *(2 * size for size in shape[1:])))
    with pytest.raises(ConfigError, match="needs grid"):
        config.build(len(shape) - 1, shape[0], 5)


def test_a_size_of_the_config_is_kept() -> None:
    config = read(ClassifierConfig, f"encoder: {{{TINY}, gate: ge, input_size: [8, 8]}}")
    with pytest.raises(ValueError, match="was built for maps of"):
        config.build_for((1, 16, 16), 5)(torch.randn(2, 1, 16, 16))


def test_unet_and_pyramid_are_built() -> None:
    x = torch.randn(2, 1, 17, 18)
    unet = read(UNetConfig, f"{{deep_supervision: 1, encoder: {{{TINY}}}}}").build(2, 1, 4)
    assert [tuple(y.shape) for y in unet(x)] == [(2, 4, 17, 18), (2, 4, 9, 9)]
    pyramid = read(PyramidConfig, f"{{width: 4, extra: 0, encoder: {{{TINY}}}}}").build(2, 1)
    assert [tuple(y.shape) for y in pyramid(x).values()] == [(2, 4, 9, 9), (2, 4, 5, 5)]


def test_image_encoder_refuses_volumes() -> None:
    with pytest.raises(ConfigError, match="serves images only"):
        TimmEncoderConfig(name="resnet18").build(3, 1)


def test_schema_lists_the_plugs() -> None:
    schema = EncoderConfig.model_json_schema()
    branches = schema["properties"]["gate"]["anyOf"]
    assert branches[0] == {"enum": list(PLUG_NAMES["gate"])}
    assert [branch.get("type") for branch in branches[1:]] == ["object", "array"]


def test_misspelt_plug_is_told_without_torch() -> None:
    program = """
import sys
from tessera.core.backbone_config import ClassifierConfig, PLUG_NAMES
from tessera.core.config import validate
from tessera.core.errors import ConfigError
validate(ClassifierConfig, {"encoder": {"gate": "eca"}}, source="preset")
try:
    validate(ClassifierConfig, {"encoder": {"gate": "sse"}}, source="preset")
except ConfigError as error:
    assert ", ".join(PLUG_NAMES["gate"]) in str(error)
    assert "torch" not in sys.modules
    print("told")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "told\n", done.stderr
