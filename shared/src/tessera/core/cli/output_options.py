"""Options that a pipeline adds to ``tessera predict``: of its inputs and of its outputs."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from typer.core import TyperCommand

from tessera.core.errors import ConfigError

if TYPE_CHECKING:
    from tessera.core.config import Config
    from tessera.core.pipeline import Pipeline

NAMED = "tessera.output"  # where the options wait until the bundle says whose they are


class CommandWithOutputOptions(TyperCommand):
    """Keeps ``--name value`` and ``--name=value`` with names it does not know for the pipeline."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Split the arguments into the command's own and the pipeline's."""
        own = {name for parameter in self.get_params(ctx) for name in parameter.opts}
        rest: list[str] = []
        named: dict[str, str] = {}
        tokens = iter(args)
        for token in tokens:
            name, equals, value = token.partition("=")
            if token == "--":
                rest += [token, *tokens]
            elif not name.startswith("--") or name in own:
                rest.append(token)
            else:
                value = value if equals else next(tokens, "")
                if not value or value.startswith("--"):
                    raise ConfigError(f"{name} needs a value", hint="tessera info PIPELINE lists the options")
                named[name] = value
        ctx.meta[NAMED] = named
        return super().parse_args(ctx, rest)


def output_values(pipeline: Pipeline, named: Mapping[str, str], *, own: Sequence[str]) -> list[str]:
    """The options given by name as assignments ``input.name=value`` and ``output.name=value``.

    Args:
        pipeline: Whose options they are.
        named: Values by ``--name``.
        own: The command's own options, for a suggestion.
    """
    fields = {option_name(field): field for field in _fields(pipeline)}
    sections = {field: section for section, known in _sections(pipeline).items() for field in known}
    for name in named:
        short = [field for field in fields if field.startswith(f"{name}-")]
        if name not in fields and len(short) == 1:  # --min-duration for --min-duration-s
            fields[name] = fields[short[0]]
        if name not in fields:
            close = difflib.get_close_matches(name, [*own, *fields], n=1)
            raise ConfigError(
                f"there is no option {name}",
                expected=f"of {pipeline.name}: {', '.join(sorted(fields)) or 'no options'}",
                hint=f"did you mean {close[0]}?" if close else "tessera predict --help lists the others",
            )
    return [f"{sections[fields[name]]}.{fields[name]}={value}" for name, value in named.items()]


def described(pipeline: Pipeline) -> list[list[str]]:
    """Name, description and default of each option that the pipeline adds."""
    return [
        [option_name(name), field.description or "", _plain(field.default)]
        for name, field in _fields(pipeline).items()
    ]


def option_name(field: str) -> str:
    """``min_duration_s`` as it is typed: ``--min-duration-s``."""
    return f"--{field.replace('_', '-')}"


def _plain(value: Any) -> str:
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def _fields(pipeline: Pipeline) -> Mapping[str, Any]:
    return {name: field for known in _sections(pipeline).values() for name, field in known.items()}


def _sections(pipeline: Pipeline) -> Mapping[str, Mapping[str, Any]]:
    """Fields by section of the assignments; no name is in both."""
    found: dict[str, Mapping[str, Any]] = {}
    for section, attribute in (("input", "read_options"), ("output", "predict_options")):
        if getattr(pipeline, attribute):
            kind: type[Config] = pipeline.resolve(attribute)
            found[section] = kind.model_fields
    return found
