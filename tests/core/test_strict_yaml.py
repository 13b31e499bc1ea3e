from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tessera.core.errors import ConfigError
from tessera.core.strict_yaml import dump_yaml, load_yaml, loads_yaml

from .yaml_values import json_like

# ---------------------------------------------------------------- reading


@pytest.mark.parametrize(
    "text",
    [
        "no",
        "No",
        "NO",
        "on",
        "off",
        "yes",
        "y",
        "12:30",
        "190:20:30",
        "2020-01-01",
        "1_000",
        "1e",
        ".",
        "e3",
        "2001-12-14t21:59:43.10-05:00",
        "0b101",
        "0x",
        "0o8",
        "=",
        "<<",
        "nul",
        "tRUE",
        "+",
        "inf",
        "nan",
        "-.nan",
    ],
)
def test_words_of_yaml_1_1_stay_text(text: str) -> None:
    assert loads_yaml(f"value: {text}") == {"value": text}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("1E+3", 1000.0),
        ("6.022e23", 6.022e23),
        (".5", 0.5),
        ("5.", 5.0),
        ("-.5e1", -5.0),
        ("-.inf", -math.inf),
        (".INF", math.inf),
        ("0x1f", 31),
        ("0o17", 15),
        ("010", 10),
        ("-12", -12),
        ("+12", 12),
        ("1234567890123456789012", 1234567890123456789012),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("null", None),
        ("", None),
    ],
)
def test_scalars_of_the_yaml_1_2_core_schema(text: str, value: object) -> None:
    read = loads_yaml(f"value: {text}")["value"]
    assert read == value
    assert type(read) is type(value)


def test_not_a_number_is_a_number() -> None:
    assert math.isnan(loads_yaml("[.nan]")[0])


@pytest.mark.parametrize("text", ["'no'", '"12"', "'1e-3'", '"null"', "'~'", "'true'"])
def test_quoted_scalars_are_text(text: str) -> None:
    assert loads_yaml(text) == text[1:-1]


@pytest.mark.parametrize(
    ("text", "first", "second", "name"),
    [
        ("a: 1\nb: 2\na: 3\n", 1, 3, "a"),
        ("top:\n  deep:\n    x: 1\n    # a remark\n    x: 1\n", 3, 5, "x"),
        ("list:\n- {a: 1}\n- {b: 1, b: 2}\n", 3, 3, "b"),
        ("no: 1\n'no': 2\n", 1, 2, "no"),
        ("16: a\n0x10: b\n", 1, 2, "16"),
    ],
)
def test_a_duplicate_key_is_refused_with_both_lines(text: str, first: int, second: int, name: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads_yaml(text, source="my.yaml")
    assert caught.value.problem == f"my.yaml, line {second}: duplicate key '{name}'"
    assert caught.value.found == f"first given on line {first}"


@pytest.mark.parametrize(
    "text",
    [
        "!!python/object/apply:os.getcwd []",
        "!!python/name:os.system",
        "a: !!python/tuple [1]",
        "!mine {a: 1}",
        "! text",
        "!!binary aGVsbG8=",
        "!!timestamp 2020-01-01",
        "!!int '1:30'",
        "!!bool 'no'",
        "!!set {a}",
        "? !!str a\n: 1",
        "%TAG ! tag:example.org,2000:\n---\n!thing {}",
    ],
)
def test_tags_are_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loads_yaml(text, source="my.yaml")
    assert "my.yaml, line" in caught.value.problem
    assert "no tags" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: b: c",
        "\tkey: 1",
        "a: 1\n--- \nb: 2",
        "*nowhere",
        "a: @x",
        "&a [*a]",
        "a: &a {b: *a}",
        "bell: \x07",
        "? [1, 2]\n: 3",
        "? {a: 1}\n: 3",
        "~: 3",
        "[" * 3000,
        f"a: {'9' * 5000}",
    ],
)
def test_what_is_not_plain_yaml_is_refused_by_name(text: str) -> None:
    with pytest.raises(ConfigError, match=r"^my\.yaml"):
        loads_yaml(text, source="my.yaml")


def test_anchors_repeat_values() -> None:
    assert loads_yaml("a: &x {n: 1}\nb: *x\nc: [*x]") == {"a": {"n": 1}, "b": {"n": 1}, "c": [{"n": 1}]}


def test_a_merge_key_is_an_ordinary_key() -> None:
    assert loads_yaml("<<: {a: 1}") == {"<<": {"a": 1}}


def test_load_yaml_names_the_file(tmp_path: Path) -> None:
    missing, binary = tmp_path / "missing.yaml", tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff\xfe")
    for path in (missing, binary, tmp_path):
        with pytest.raises(ConfigError, match=path.name):
            load_yaml(path)
    marked = tmp_path / "marked.yaml"
    marked.write_bytes("\ufeffa: 1\r\nb: ü\r\n".encode())
    assert load_yaml(marked) == {"a": 1, "b": "ü"}


# ---------------------------------------------------------------- writing


@given(json_like)
def test_what_is_written_reads_back_the_same(value: Any) -> None:
    assert loads_yaml(dump_yaml(value)) == value


@given(json_like)
def test_what_is_written_means_the_same_to_a_yaml_1_1_reader(value: Any) -> None:
    assert yaml.safe_load(dump_yaml(value)) == value


@given(st.floats())
def test_numbers_keep_their_type_and_last_bit(value: float) -> None:
    back = loads_yaml(dump_yaml([value]))[0]
    assert isinstance(back, float)
    assert back.hex() == value.hex()


@given(st.lists(st.integers(), max_size=50), st.text("abc ", min_size=60, max_size=200))
def test_a_value_used_twice_is_written_twice(numbers: list[int], text: str) -> None:
    written = dump_yaml({"a": numbers, "b": numbers, "text": text})
    assert "&" not in written
    assert loads_yaml(written) == {"a": numbers, "b": numbers, "text": text}


def test_written_yaml_has_one_line_a_field() -> None:
    written = dump_yaml({"b": {"y": 1, "x": (1, 2)}, "a": {}, "c": 1e-10})
    assert written == "b:\n  y: 1\n  x: [1, 2]\na: {}\nc: 1.0e-10\n"
