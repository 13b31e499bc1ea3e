"""YAML as values only: a strict reader with YAML 1.2 scalars, a writer any reader understands (no torch)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from tessera.core.errors import ConfigError


class _StrictLoader(yaml.SafeLoader):
    """YAML 1.2 core scalars (``no`` and ``12:30`` stay text, ``1e-3`` is a number); duplicate keys raise."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Refuse ``!tags``: with them YAML would choose types or classes."""
        event = self.peek_event()  # type: ignore[no-untyped-call]  # not in the stubs
        if getattr(event, "tag", None) is not None:
            raise yaml.constructor.ConstructorError(None, None, f"the tag {event.tag}", event.start_mark)
        return super().compose_node(parent, index)


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


def _construct_list(loader: _StrictLoader, node: yaml.SequenceNode) -> list[Any]:
    """At once, not lazily as PyYAML does, so that a list inside itself is refused."""
    return [loader.construct_object(item, deep=True) for item in node.value]


_StrictLoader.add_constructor("tag:yaml.org,2002:int", _construct_int)
_StrictLoader.add_constructor("tag:yaml.org,2002:map", _construct_mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:seq", _construct_list)


def loads_yaml(text: str, *, source: str = "YAML") -> Any:
    """Read YAML text as values only; ``source`` names it in errors."""
    try:
        return yaml.load(text, Loader=_StrictLoader)
    except ConfigError as error:
        raise ConfigError(f"{source}, {error.problem}", found=error.found, hint=error.hint) from None
    except (ValueError, RecursionError) as error:  # a number of 5000 digits, 1000 brackets
        raise ConfigError(f"{source}: this is too large to be a config", found=error) from None
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
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"cannot read {path}", found=reason, expected="a UTF-8 YAML file") from None
    return loads_yaml(text, source=str(path))


class _Dumper(yaml.SafeDumper):
    """Quotes text that YAML 1.1 or 1.2 would take for another type; no anchors, one line a key."""

    def ignore_aliases(self, data: Any) -> bool:
        """Write a value again where it is used again."""
        return True

    def represent_mapping(self, tag: str, mapping: Any, flow_style: bool | None = None) -> yaml.MappingNode:
        """One line a key; lists of plain values stay on theirs."""
        return super().represent_mapping(tag, mapping, flow_style=False)


_Dumper.yaml_implicit_resolvers = {
    first: [
        *_StrictLoader.yaml_implicit_resolvers.get(first, []),
        *yaml.SafeDumper.yaml_implicit_resolvers.get(first, []),
    ]
    for first in {*_StrictLoader.yaml_implicit_resolvers, *yaml.SafeDumper.yaml_implicit_resolvers}
}


def _represent_float(dumper: _Dumper, value: float) -> yaml.ScalarNode:
    text = repr(value).replace("inf", ".inf").replace("nan", ".nan")
    if "e" in text and "." not in text:
        text = text.replace("e", ".0e")  # YAML 1.1 takes 1e-05 for text
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _represent_text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    style = None if value.isprintable() else '"'  # PyYAML loses some line breaks in other styles
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(float, _represent_float)
_Dumper.add_representer(str, _represent_text)


def dump_yaml(value: Any) -> str:
    """Write values as YAML that any YAML 1.1 or 1.2 reader understands alike."""
    return yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, default_flow_style=None, width=100
    )
