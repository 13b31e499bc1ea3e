"""Config of the papers' networks by name, known without torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from tessera.core.backbone.reference import REFERENCES
from tessera.core.config import loads_yaml, validate
from tessera.core.errors import ConfigError
from tessera.core.reference_config import REFERENCE_NAMES, ReferenceConfig


def read(text: str) -> ReferenceConfig:
    return validate(ReferenceConfig, loads_yaml(text, source="preset"), source="preset")


def test_names_are_those_of_the_table() -> None:
    """A new network needs its name in REFERENCE_NAMES too."""
    assert tuple(sorted(REFERENCES)) == REFERENCE_NAMES


def test_two_lines_choose_a_network() -> None:
    network = read("{kind: reference, name: mobilevit-xxs, options: {dropout: 0.1}}").build(1, 2, 5)
    assert network(torch.randn(2, 2, 50)).shape == (2, 5)


@pytest.mark.parametrize("name", ["mixer-s32", "ge-resnet-50", "mobilevit-xxs"])
def test_network_is_built_for_the_shape_of_the_input(name: str) -> None:
    with torch.device("meta"):
        network = ReferenceConfig(name=name).build_for((1, 64, 96), 5)
        assert network(torch.empty(2, 1, 64, 96)).shape == (2, 5)


def test_given_size_is_kept() -> None:
    config = read("{name: mixer-s32, options: {input_size: [32, 64]}}")
    with torch.device("meta"):
        assert config.build_for((3, 64, 96), 5)(torch.empty(1, 3, 32, 64)).shape == (1, 5)


def test_misspelt_name_is_told_with_its_field() -> None:
    with pytest.raises(ConfigError, match=r"preset: cannot use name(?s:.*)did you mean vmamba-t\?"):
        read("name: vmamba_t")


@pytest.mark.parametrize(
    ("text", "dims", "message"),
    [
        ("{name: ghostnet-1.0, options: {size: 3}}", 2, "no option 'size'; its options: width, dropout"),
        ("{name: efficient-tdnn}", 2, "it serves 1"),
    ],
)
def test_what_only_the_builder_knows_is_an_error_of_the_config_too(
    text: str, dims: int, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"cannot be built(?s:.*){message}"):
        read(text).build(dims, 3, 5)  # type: ignore[arg-type]


def test_names_are_checked_without_torch() -> None:
    code = (
        "import sys\n"
        "from tessera.core.reference_config import ReferenceConfig\n"
        "ReferenceConfig(name='mobilevit-s')\n"
        "sys.exit('torch' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
