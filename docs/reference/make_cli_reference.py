"""Writes ``docs/reference/command-line.md`` from the commands' own help."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from tessera.core.cli.app import app

PAGE = Path(__file__).with_name("command-line.md")


def page() -> str:
    """The page as Markdown."""
    root: Any = typer.main.get_command(app)
    lines = ["# The command line", "", "Made by `make docs` from the commands' help.", "", root.epilog, ""]
    for name, command in _commands(root, "tessera"):
        usage = " ".join(p.name.upper() for p in command.params if p.param_type_name == "argument")
        lines += [f"## `{name}{' ' + usage if usage else ''}`", "", command.help or "", ""]
        options = [p for p in command.params if p.name != "help"]
        if options:
            lines += ["| option | what | default |", "| --- | --- | --- |"]
            lines += [_row(option) for option in options]
            lines.append("")
    return "\n".join(lines)


def _commands(command: Any, name: str) -> list[tuple[str, Any]]:
    if not hasattr(command, "commands"):
        return [(name, command)]
    return [found for key, sub in command.commands.items() for found in _commands(sub, f"{name} {key}")]


def _row(option: Any) -> str:
    name = ", ".join(option.opts) if option.param_type_name == "option" else option.name.upper()
    required = "required" if option.required else ""
    default = required or ("" if option.default in (None, False, ()) else str(option.default))
    return f"| `{name}` | {(getattr(option, 'help', '') or '').replace('|', chr(92) + '|')} | {default} |"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
