"""The ``tessera`` command: one file a command, heavy imports inside the commands.

Exit codes: 0 all well, 2 bad arguments or input, 3 some cases failed, 130 interrupted.
"""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from tessera.core.cli import (
    bench,
    bundle,
    data,
    evaluate,
    explore,
    plan,
    predict,
    report,
    simulate,
    study,
    train,
)
from tessera.core.cli.console import error_console
from tessera.core.cli.invocation import Invocation
from tessera.core.cli.output_options import CommandWithOutputOptions
from tessera.core.errors import TesseraError

OK, BAD_INPUT, SOME_FAILED, INTERRUPTED = 0, 2, 3, 130


class _Commands(TyperGroup):
    """Turns expected errors into a message and an exit code; a traceback only with ``--debug``."""

    def invoke(self, ctx: Any) -> Any:  # typer brings its own click, whose Context is private
        try:
            return super().invoke(ctx)
        except TesseraError as error:
            if ctx.params.get("debug"):
                raise
            error_console().print(
                f"Error: {error}", markup=False, highlight=False, soft_wrap=True, style="red"
            )
            raise typer.Exit(BAD_INPUT) from None
        except KeyboardInterrupt:
            if ctx.params.get("debug"):
                raise
            error_console().print("Interrupted. What is finished is kept; run the command again to go on.")
            raise typer.Exit(INTERRUPTED) from None


app = typer.Typer(
    name="tessera",
    cls=_Commands,
    help="Deep-learning pipelines for scientists: a folder in; labels, tables and a report out.",
    epilog="Exit codes: 0 all well, 2 bad arguments or input, 3 some cases failed, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        from tessera.core import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _options(
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Show the version."
    ),
) -> None:
    del debug, version  # read by the group and by the callback


app.command("list", rich_help_panel="Look")(explore.list_pipelines)
app.command("info", rich_help_panel="Look")(explore.info)
app.command("doctor", rich_help_panel="Look")(explore.doctor)
app.command("simulate", cls=simulate.CommandWithFields, rich_help_panel="Data")(simulate.simulate)
app.add_typer(data.app, name="data", rich_help_panel="Data")
app.command("fetch", rich_help_panel="Data")(data.fetch)
app.command("plan", rich_help_panel="Models")(plan.plan)
app.command("train", rich_help_panel="Models")(train.train)
app.command("evaluate", rich_help_panel="Models")(evaluate.evaluate)
app.command("predict", cls=CommandWithOutputOptions, rich_help_panel="Models")(predict.predict)
app.command("merge", rich_help_panel="Models")(predict.merge)
app.command("report", rich_help_panel="Models")(report.report)
app.command("study", rich_help_panel="Models")(study.study)
app.add_typer(bundle.app, name="bundle", rich_help_panel="Models")
app.add_typer(bench.app, name="bench", rich_help_panel="Models")


def main() -> None:
    """Run the command line."""
    app(prog_name="tessera", obj=Invocation(tuple(sys.argv[1:])))


if __name__ == "__main__":
    main()
