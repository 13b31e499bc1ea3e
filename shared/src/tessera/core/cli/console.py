"""What the commands print on: results on standard output, everything else on standard error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress and no remarks.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Change one field, e.g. trainer.max_epochs=60."),
]


def error_console() -> Console:
    """The console on standard error."""
    from rich.console import Console

    return Console(stderr=True)


def remark(text: str, *, quiet: bool = False) -> None:
    """One line for a person, on standard error."""
    if not quiet:
        error_console().print(text, markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """A value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(title: str, columns: list[str], rows: list[list[str]]) -> None:
    """A table on standard output."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    Console().print(table)


class Bar:
    """A progress bar on standard error; called with (done, total) and, if it changed, what is going on."""

    def __init__(self, bar: Progress, title: str) -> None:
        self._bar = bar
        self._task = bar.add_task(title, total=None)

    def __call__(self, done: int, total: int, what: str | None = None) -> None:
        """Show that ``done`` of ``total`` are done."""
        self._bar.update(self._task, completed=done, total=total, description=what)

    def advance(self, n: int) -> None:
        """Show that ``n`` more are done, of a total that is not known."""
        self._bar.advance(self._task, n)


@contextmanager
def progress(title: str, *, quiet: bool = False) -> Iterator[Bar]:
    """A progress bar while the block runs."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=error_console(), disable=quiet) as bar:
        yield Bar(bar, title)
