"""Typed configuration: a pydantic base, a strict YAML reader, merging and ``--set a.b=c`` (no torch)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from tessera.core.errors import ConfigError


class Config(BaseModel):
    """Base of every config: frozen, unknown keys refused, defaults validated."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, ser_json_inf_nan="constants"
    )

    def digest(self) -> str:
        """SHA-256 of the canonical JSON form, as 64 hex digits."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


ConfigT = TypeVar("ConfigT", bound=BaseModel)


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 core scalars (``no`` and ``12:30`` stay text, ``1e-3`` is a number); duplicate keys raise."""


_StrictLoader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("int", r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$", "-+0123456789"),
    (
        "float",
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$",
        "-+0123456789.",
    ),
):
    _StrictLoader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))


def _construct_int(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    text = node.value
    base = {"0o": 8, "0x": 16}.get(text[:2], 10)
    return int(text[2:] if base != 10 else text, base)


def _construct_mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        if not isinstance(key, str | int | float | bool):
            raise ConfigError(f"line {line}: a key must be plain text", found=key)
        if key in seen:
            raise ConfigError(
                f"line {line}: duplicate key '{key}'",
                found=f"first given on line {seen[key]}",
                hint="keep one of the two lines",
            )
        seen[key] = line
    return {
        loader.construct_object(k, deep=True): loader.construct_object(v, deep=True) for k, v in node.value
    }


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)


def loads_yaml(text: str, *, source: str = "YAML") -> Any:
    """Read YAML text as values only; ``source`` names it in errors."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except ConfigError as error:
        raise ConfigError(f"{source}, {error.problem}", found=error.found, hint=error.hint) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(
            f"{source}{place}: this is not valid YAML",
            found=getattr(error, "problem", None) or str(error).splitlines()[0],
            expected="key: value lines, values only (no tags, no classes)",
        ) from None


def load_yaml(path: Path) -> Any:
    """Read a YAML file as values only."""
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read {path}", found=error, expected="a UTF-8 YAML file") from None
    return loads_yaml(text, source=str(path))


class _Dumper(yaml.SafeDumper):
    """Writes text that would read back as another type in quotes, by the strict reader's rules."""


_Dumper.yaml_implicit_resolvers = {
    first: [
        *_StrictLoader.yaml_implicit_resolvers.get(first, []),
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*_StrictLoader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}


def _represent_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    text = repr(value).replace("inf", ".inf").replace("nan", ".nan")
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


_Dumper.add_representer(float, _represent_float)


def dump_yaml(value: Any) -> str:
    """Write values as YAML that any YAML 1.1 or 1.2 reader understands alike."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )


def merge(base: Mapping[str, Any], override: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Lay one nested mapping over another.

    When ``override`` changes the ``kind`` of a mapping, the old kind's other fields are dropped.

    Returns:
        The merged mapping and one notice a dropped set of fields.
    """
    notices: list[str] = []

    def lay(low: Mapping[str, Any], high: Mapping[str, Any], path: str) -> dict[str, Any]:
        if "kind" in high and "kind" in low and high["kind"] != low["kind"]:
            dropped = sorted(set(low) - {"kind"} - set(high))
            if dropped:
                notices.append(
                    f"{path or 'config'}.kind changed from {low['kind']} to {high['kind']}: "
                    f"dropped {', '.join(dropped)} of {low['kind']}"
                )
            low = {}
        merged = dict(low)
        for key, value in high.items():
            old = merged.get(key)
            if isinstance(value, Mapping) and isinstance(old, Mapping):
                merged[key] = lay(old, value, f"{path}.{key}".lstrip("."))
            else:
                merged[key] = value
        return merged

    return lay(base, override, ""), notices


def parse_set(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn ``["trainer.max_epochs=60"]`` into ``{"trainer": {"max_epochs": 60}}``."""
    tree: dict[str, Any] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        keys = name.strip().split(".")
        if not equals or not all(keys):
            raise ConfigError(
                f"--set {assignment}", expected="name=value", hint="--set trainer.max_epochs=60"
            )
        branch = tree
        for key in keys[:-1]:
            branch = branch.setdefault(key, {})
            if not isinstance(branch, dict):
                raise ConfigError(f"--set {assignment}", found=f"{key} was set to a value before")
        branch[keys[-1]] = loads_yaml(text, source=f"--set {name}")
    return tree


def validate(kind: type[ConfigT], values: Any, *, source: str) -> ConfigT:
    """Build a config from plain values; every error names its field and where it came from."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: expected key: value lines", found=type(values).__name__)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        details = error.errors(include_url=False)
        first = details[0]
        lines = [f"{_field_path(item['loc'])}: {item['msg']}" for item in details]
        unknown = first["type"] == "extra_forbidden"
        raise ConfigError(
            f"{source}: {'unknown field' if unknown else 'cannot use'} {_field_path(first['loc'])}",
            found=repr(first.get("input")),
            expected="; ".join(lines),
            hint=_suggest(kind, first["loc"])
            if unknown
            else "correct the field, or leave it out for its default",
        ) from None


def _field_path(location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in location) or "config"


def _suggest(kind: type[BaseModel], location: tuple[int | str, ...]) -> str:
    import difflib

    fields = _known_fields(kind.model_json_schema(), location[:-1])
    close = difflib.get_close_matches(str(location[-1]), fields, n=1)
    known = f"known fields: {', '.join(sorted(fields))}" if fields else "leave the field out"
    return f"did you mean {close[0]}? {known}" if close else known


def _known_fields(schema: dict[str, Any], location: tuple[int | str, ...]) -> list[str]:
    definitions = schema.get("$defs", {})
    node = schema
    for part in location:
        if "discriminator" in node:
            reference = node["discriminator"]["mapping"].get(part, "")
            node = definitions.get(reference.rsplit("/", 1)[-1], {})
            continue
        node = node.get("properties", {}).get(part, {})
        reference = node.get("$ref") or (node.get("allOf") or [{}])[0].get("$ref", "")
        node = definitions.get(reference.rsplit("/", 1)[-1], node) if reference else node
    return list(node.get("properties", {}))
