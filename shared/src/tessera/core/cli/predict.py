"""``tessera predict`` and ``merge``: a folder in, tables out, nothing lost."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from tessera.core.cli.console import Json, Quiet, Set, print_json, print_table, progress, remark
from tessera.core.cli.durations import seconds
from tessera.core.cli.invocation import Invocation
from tessera.core.cli.output_options import NAMED, output_values
from tessera.core.inference.shard import Shard, shard_folder

if TYPE_CHECKING:
    from tessera.core.bundle.bundle import Bundle
    from tessera.core.config import Config
    from tessera.core.inference.case_limit import CaseLimit
    from tessera.core.inference.preview import Preview
    from tessera.core.inference.summary import RunSummary
    from tessera.core.run_config import InferenceConfig

Provenance = Annotated[
    bool, typer.Option("--provenance", help="Write provenance/<case>.json: hashes and versions behind each.")
]

DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only write OUT/plan.jsonl: what would be done, and why.")
]


def predict(
    bundle: Annotated[Path, typer.Argument(help="A bundle, for instance runs/<run>/bundle.")],
    inputs: Annotated[Path, typer.Argument(help="A folder of files, or one file.")],
    ctx: typer.Context,
    *,
    out: Annotated[Path, typer.Option(help="Folder for tables, windows and the ledger.")],
    shard: Annotated[str | None, typer.Option(help="Do part i of n, e.g. 2/8; then `tessera merge`.")] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="Only these cases; names or patterns like 'site7*'.")
    ] = None,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Try failed cases again.")] = False,
    max_failures: Annotated[int | None, typer.Option(min=0, help="Stop when more cases failed.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Throw earlier results in OUT away.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Hash all inputs again.")] = False,
    accept_version: Annotated[
        bool, typer.Option("--accept-version", help="Go on with results of another version.")
    ] = False,
    timeout: Annotated[str | None, typer.Option(help="Longest time for reading one case, e.g. 5m.")] = None,
    case_timeout: Annotated[str | None, typer.Option(help="Longest time for one case, e.g. 30m.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads that read ahead.")] = 2,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads of the network.")] = None,
    provenance: Provenance = False,
    dry_run: DryRun = False,
    no_isolation: Annotated[
        bool, typer.Option("--no-isolation", help="One process: a file that kills it ends the run.")
    ] = False,
    set_: Set = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict every file of a folder; stop it at any time and run it again to go on.

    A pipeline adds options of its inputs and outputs, for instance --formats csv,raven for sound; `tessera
    info sound` lists them.
    """
    part = None if shard is None else Shard.parse(shard)
    started: Invocation | None = ctx.obj
    if started is not None and not (started.watched or dry_run or no_isolation):
        _isolate(started, out if part is None else shard_folder(out, part), quiet=quiet)
    from tessera.core.bundle.bundle import Bundle
    from tessera.core.inference.preview import preview
    from tessera.core.inference.runner import run
    from tessera.core.inference.steps import Steps

    opened = Bundle.load(bundle)
    own = [name for parameter in ctx.command.params for name in parameter.opts]
    named = output_values(opened.pipeline, ctx.meta[NAMED], own=own)
    options, chosen, output = _options(opened, [*(set_ or []), *named])
    steps = Steps.from_bundle(
        opened, device=device, threads=threads, inference=options, input=chosen, output=output
    )
    cases = list(steps.reader.find(inputs))
    asked: dict[str, Any] = {
        "retry_failed": retry_failed,
        "only": only or (),
        "shard": part,
        "verify": verify,
        "restart": restart,
        "accept_version": accept_version,
    }
    if dry_run:
        _say_plan(preview(steps.identity, cases, out, **asked), as_json=as_json)
        return
    with progress("predicting", quiet=quiet) as show:
        summary = run(
            steps,
            cases,
            out,
            workers=workers,
            timeout_s=options.timeout_s if timeout is None else seconds(timeout),
            limit=_limit(case_timeout, started),
            max_failures=max_failures,
            progress=lambda step: show(step.done, step.total),
            after=None if started is None else started.death,
            provenance=provenance,
            **asked,
        )
    _write_record(summary, opened, inputs, output)
    _say(summary, as_json=as_json, quiet=quiet)


def merge(
    out: Annotated[Path, typer.Argument(help="The folder given to all shards.")],
    *,
    bundle: Annotated[Path | None, typer.Option(help="The bundle, when it was moved since.")] = None,
    accept_version: Annotated[
        bool, typer.Option("--accept-version", help="Merge shards of different versions.")
    ] = False,
    provenance: Provenance = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check that all shards are complete and put them together as if one run had done it."""
    from tessera.core.bundle.bundle import Bundle
    from tessera.core.inference.shards import merge as merge_shards
    from tessera.core.inference.shards import sharded_identity
    from tessera.core.inference.writing import build_writer, stored_options

    identity = sharded_identity(out)
    opened = Bundle.load(bundle or Path(identity.bundle_path))
    output = stored_options(opened.pipeline, identity.output)
    writer = build_writer(opened, output)
    summary = merge_shards(out, writer, accept_version=accept_version, provenance=provenance)
    _write_record(summary, opened, None, output)
    _say(summary, as_json=as_json, quiet=quiet)


def _isolate(started: Invocation, folder: Path, *, quiet: bool) -> NoReturn:
    """Do everything in a process of its own, which a file may kill."""
    from tessera.core.inference.supervisor import supervise

    raise typer.Exit(supervise(started.arguments, folder, say=partial(remark, quiet=quiet)))


def _limit(text: str | None, started: Invocation | None) -> CaseLimit | None:
    """The longest time for one case; one that hangs ends this process where another one watches it."""
    from tessera.core.inference.case_limit import CaseLimit

    deadly = started is not None and started.watched
    return None if text is None else CaseLimit(seconds(text), deadly=deadly)


def _options(bundle: Bundle, assignments: list[str]) -> tuple[InferenceConfig, Config | None, Config | None]:
    """Options of the network and, where the pipeline has them, of its inputs and outputs."""
    from tessera.core.config import merge, parse_set, validate
    from tessera.core.errors import ConfigError
    from tessera.core.inference.writing import output_options, read_options

    changes = parse_set(assignments)
    section, chosen, output = (changes.pop(name, {}) for name in ("inference", "input", "output"))
    if changes:
        raise ConfigError(
            f"--set {next(iter(changes))}: a trained model reads its input as it was trained",
            expected="fields of inference, input or output only, e.g. inference.batch_size=32",
        )
    values, _ = merge(bundle.config.inference.model_dump(mode="json"), section)
    options = validate(type(bundle.config.inference), values, source="--set inference")
    return options, read_options(bundle.pipeline, chosen), output_options(bundle.pipeline, output)


def _write_record(summary: RunSummary, bundle: Bundle, inputs: Path | None, output: Config | None) -> None:
    """``run.json`` beside the tables, for the report: what was applied to what, and how long it took."""
    from tessera.core.data.atomic import write_atomic

    card = bundle.card
    facts: dict[str, Any] = {
        "bundle": str(bundle.path),
        "bundle_digest": bundle.digest,
        "pipeline": card.pipeline,
        "preset": card.preset,
        "target": card.target.model_dump(mode="json"),
        "inputs": None if inputs is None else str(inputs),
        "output": None if output is None else output.model_dump(mode="json"),
        "counts": {
            name: getattr(summary, name)
            for name in ("ok", "suspicious", "empty", "failed", "skipped", "pending")
        },
        "stages": [stage._asdict() for stage in summary.stage_table()],
        "peak_bytes": summary.peak_bytes,
        **({"cases": summary.cases} if summary.cases else {}),
    }
    write_atomic(summary.out / "run.json", json.dumps(facts, indent=2, ensure_ascii=False) + "\n")


def _say_plan(plan: Preview, *, as_json: bool) -> None:
    if as_json:
        facts = {"counts": dict(plan.counts), "bytes": plan.bytes, "free_bytes": plan.free_bytes}
        print_json({"plan": str(plan.plan), **facts})
        return
    counts = ", ".join(f"{n} {status}" for status, n in plan.counts.items())
    room = f"{plan.free_bytes / 1e9:.2f} GB free for the results"
    remark(f"{counts}; {plan.bytes / 1e9:.2f} GB to read, {room}")
    typer.echo(str(plan.plan))


def _say(summary: RunSummary, *, as_json: bool, quiet: bool) -> None:
    counts = {
        name: getattr(summary, name)
        for name in ("ok", "suspicious", "empty", "failed", "skipped", "pending", "computed", "kept")
    }
    if as_json:
        stages = [stage._asdict() for stage in summary.stage_table()]
        print_json({"out": str(summary.out), **counts, "stages": stages, "peak_bytes": summary.peak_bytes})
    elif not quiet:
        rows = [
            [stage.name, f"{stage.seconds:.2f}", "" if stage.share is None else f"{100 * stage.share:.0f} %"]
            for stage in summary.stage_table()
        ]
        print_table("", ["stage", "seconds", "share"], rows)
        remark(
            ", ".join(f"{n} {name}" for name, n in counts.items() if n)
            + f"; peak memory {summary.peak_bytes / 2**20:.0f} MiB"
        )
    if summary.failed or summary.skipped:
        causes = summary.out / "failures.csv"
        remark(f"{summary.failed + summary.skipped} cases failed; each with its cause in {causes}")
    if summary.stopped:
        remark(f"Stopped early: {summary.stopped}")
    if not as_json:
        typer.echo(str(summary.out))
    if summary.exit_code:
        raise typer.Exit(summary.exit_code)
