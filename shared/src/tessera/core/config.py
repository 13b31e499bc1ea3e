"""Typed configuration: a pydantic base, validation with clear errors, merging, ``--set a.b=c`` (no torch)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tessera.core.errors import ConfigError
from tessera.core.strict_yaml import dump_yaml, load_yaml, loads_yaml

__all__ = [
    "Config",
    "TrainingOnly",
    "dump_yaml",
    "load_yaml",
    "loads_yaml",
    "merge",
    "parse_set",
    "trained",
    "validate",
]


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


@dataclass(frozen=True)
class TrainingOnly:
    """Marks a field that a trained network no longer needs, such as the file of its first weights."""


def trained(config: ConfigT) -> ConfigT:
    """The config of a network that is trained: fields marked ``TrainingOnly`` are null, at any depth."""
    update = {}
    for name, field in type(config).model_fields.items():
        value = getattr(config, name)
        marked = any(isinstance(mark, TrainingOnly) for mark in field.metadata)
        update[name] = None if marked else _trained(value)
    return config.model_copy(update=update)


def _trained(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return trained(value)
    if isinstance(value, tuple | list):
        return type(value)(_trained(item) for item in value)
    if isinstance(value, dict):
        return {key: _trained(item) for key, item in value.items()}
    return value


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
        if keys[-1] in branch:
            raise ConfigError(f"--set {assignment}", found=f"{name} was set before", hint="set it once")
        branch[keys[-1]] = loads_yaml(text, source=f"--set {name}")
    return tree


def validate(kind: type[ConfigT], values: Any, *, source: str) -> ConfigT:
    """Build a config from plain values; every error names its field and where it came from."""
    if not isinstance(values, Mapping):
        raise ConfigError(f"{source}: expected key: value lines", found=type(values).__name__)
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _explained(kind, values, error, source) from None


def _explained(kind: type[BaseModel], values: Any, error: ValidationError, source: str) -> ConfigError:
    details = sorted(error.errors(include_url=False), key=lambda item: item["type"] != _UNKNOWN)
    reasons: dict[str, list[str]] = {}
    for item in details:
        reasons.setdefault(".".join(_names(values, item)), []).append(_reason(item))
    first, (name, expected) = details[0], next(iter(reasons.items()))
    text = " or ".join(expected)
    if len(reasons) > 1:
        text = "; ".join(f"{path or 'config'}: {' or '.join(texts)}" for path, texts in reasons.items())
    found = first.get("input")
    if first["type"] == _UNKNOWN:
        hint = _suggest(kind.model_json_schema(), values, _names(values, first))
        return ConfigError(
            f"{source}: unknown field {name}",
            found=repr(found),
            expected=text if len(reasons) > 1 else None,
            hint=hint,
        )
    return ConfigError(
        f"{source}: cannot use {name}" if name else f"{source}: these values do not fit together",
        found=None if isinstance(found, Mapping) else repr(found),
        expected=text,
        hint="correct the field, or leave it out for its default" if name else None,
    )


_UNKNOWN = "extra_forbidden"


def _names(values: Any, item: Any) -> list[str]:
    """Where the error is, by the names in the file; pydantic's names of union branches are left out."""
    names: list[str] = []
    node = values
    for part in item["loc"]:
        if (isinstance(node, Mapping) and part in node) or (
            isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        ):
            names.append(str(part))
            node = node[part]
    if item["type"] == "missing":
        names.append(str(item["loc"][-1]))
    if item["type"].startswith("union_tag"):
        names.append(item["ctx"]["discriminator"].strip("'"))
    return names


def _reason(item: Any) -> str:
    if item["type"] == _UNKNOWN:
        return "there is no such field"
    if item["type"] == "union_tag_invalid":
        return f"one of {item['ctx']['expected_tags']}, not '{item['ctx']['tag']}'"
    if item["type"] in ("missing", "union_tag_not_found"):
        return "a value; none was given"
    if item["type"] == "model_type":
        return "key: value lines"
    text: str = item["msg"]
    return text.removeprefix("Value error, ").removeprefix("Input should be ")


def _suggest(schema: dict[str, Any], values: Any, names: list[str]) -> str:
    import difflib

    node = _opened(schema, schema, values)
    for name in names[:-1]:
        values = values[int(name)] if isinstance(values, list | tuple) else values[name]
        below = node.get("properties", {}).get(name) or node.get("additionalProperties") or node.get("items")
        node = _opened(schema, below or {}, values)
    fields = sorted(node.get("properties", {}))
    known = f"known fields: {', '.join(fields)}" if fields else "leave the field out"
    close = difflib.get_close_matches(names[-1], fields, n=1)
    return f"did you mean {close[0]}? {known}" if close else known


def _opened(schema: dict[str, Any], node: dict[str, Any], values: Any) -> dict[str, Any]:
    """Follow references and the union's branch that ``values`` chose, to a node with fields."""
    if "discriminator" in node:
        chosen = values.get(node["discriminator"]["propertyName"])
        node = {"$ref": node["discriminator"]["mapping"].get(chosen, "")}
    if "$ref" in node:
        return _opened(schema, schema.get("$defs", {}).get(node["$ref"].rpartition("/")[2], {}), values)
    branches = [_opened(schema, branch, values) for branch in node.get("anyOf", ())]
    return next((branch for branch in branches if "properties" in branch), node)
