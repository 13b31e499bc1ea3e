"""``tessera data make | verify | list`` and ``tessera fetch``: manifests and their files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tessera.core.cli.console import Json, Quiet, Set, print_json, print_table, progress, remark

if TYPE_CHECKING:
    from tessera.core.data.case import Case
    from tessera.core.data.make import MadeManifest
    from tessera.core.data.manifest import Manifest
    from tessera.core.pipeline import Pipeline

NAMED = 5  # of many names in a remark

app = typer.Typer(help="Make, check and list data manifests.", no_args_is_help=True)


@app.command("make")
def make(
    *,
    out: Annotated[Path, typer.Option(help="Folder for the manifest, e.g. data_manifests/mine.")],
    audio: Annotated[Path | None, typer.Option(help="Folder of recordings.")] = None,
    volumes: Annotated[Path | None, typer.Option(help="Folder of scans; masks are under --labels.")] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="CSV with a file and a label column, or a folder of the field's own tables; "
            "without it, folders name classes. Of scans: folder of masks with the scans' names."
        ),
    ] = None,
    set_: Set = None,
    group_regex: Annotated[
        str | None,
        typer.Option(
            "--group-regex",
            "--patient-id",
            help=r"Part of the path that must not be split, e.g. '(site\d+)_.*'; of scans: the patient.",
        ),
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Of masks: names of the values 0, 1, 2, e.g. background,liver.")
    ] = None,
    fix_affine: Annotated[
        bool, typer.Option("--fix-affine", help="Of masks: accept those that only lie elsewhere.")
    ] = False,
    target: Annotated[
        str | None, typer.Option(help="Name of the target column; default: label, or that of --number.")
    ] = None,
    number: Annotated[
        str | None, typer.Option(help="Column of the table that holds a measured number, instead of a label.")
    ] = None,
    unit: Annotated[str, typer.Option(help="Unit of the number, e.g. s.")] = "",
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a manifest that is there.")] = False,
    quiet: Quiet = False,
) -> None:
    """Build a manifest from a folder of files and their labels."""
    from tessera.core.errors import ConfigError

    if (audio is None) == (volumes is None):
        raise ConfigError(
            "tessera data make needs one folder of files", hint="give --audio FOLDER or --volumes FOLDER"
        )
    if volumes is not None:
        if labels is None:
            raise ConfigError("scans are labelled by masks", hint="give --labels FOLDER")
        options = {"group_regex": group_regex, "target": target or "label", "fix_affine": fix_affine}
        names = tuple(name.strip() for name in classes.split(",")) if classes else ()
        _make_masks(volumes, labels, out, {**options, "classes": names}, overwrite=overwrite, quiet=quiet)
        return
    assert audio is not None
    options = {"group_regex": group_regex, "number": number, "unit": unit, "overwrite": overwrite}
    options["target"] = target or number or "label"
    _make_labelled(audio, labels, out, set_ or [], options, quiet=quiet)


def _make_labelled(
    folder: Path,
    labels: Path | None,
    out: Path,
    assignments: list[str],
    options: dict[str, Any],
    *,
    quiet: bool,
) -> None:
    """The manifest of a folder of files, and of a table or of folders that label them."""
    from tessera.core.config import parse_set, validate
    from tessera.core.data.make import make_manifest
    from tessera.core.errors import ConfigError

    pipeline = _pipeline_of_domain("audio")
    kind = pipeline.resolve("labels") if pipeline.labels else None
    values = parse_set(assignments)
    if values and (kind is None or labels is None):
        raise ConfigError("--set is for tables that label parts of files", hint="give --labels FOLDER")
    parts = None if kind is None else validate(kind, values, source="--set")
    if values and labels is not None and parts is not None and not parts.reads(labels):
        raise ConfigError(f"--set has no effect: {labels} labels whole files", hint="leave it out")
    number, unit, target = options["number"], options["unit"], options["target"]
    if number is not None and (labels is None or (parts is not None and parts.reads(labels))):
        raise ConfigError(
            "--number names a column of a table, one row a file",
            hint="give --labels TABLE.csv, or leave it out",
        )
    if unit and number is None:
        raise ConfigError("--unit is that of a number", hint="give --number COLUMN too")
    with progress("hashing", quiet=quiet) as show:
        made = make_manifest(
            reader=pipeline.resolve("reader")(None),
            folder=folder,
            labels=labels,
            parts=parts,
            out=out,
            group_regex=options["group_regex"],
            target=target,
            kind=None if number is None else "number",
            label_column=number,
            unit=unit,
            overwrite=options["overwrite"],
            progress=show.advance,
        )
    _say_made(made, target, quiet=quiet)
    typer.echo(str(out))


def _make_masks(
    images: Path, labels: Path, out: Path, options: dict[str, Any], *, overwrite: bool, quiet: bool
) -> None:
    """The manifest of a folder of images and a folder of masks."""
    from tessera.core.data.make_masks import make_mask_manifest

    pairs = _pipeline_of_domain("medical").resolve("pairs")(images, labels, **options)
    with progress("hashing", quiet=quiet) as show:
        made = make_mask_manifest(
            pairs,
            folders=(images, labels),
            out=out,
            target=options["target"],
            overwrite=overwrite,
            progress=show.advance,
        )
    _say_made(made, options["target"], quiet=quiet)
    if options["fix_affine"]:
        remark("train with --set data.fix_affine=true, so that these masks are accepted there", quiet=quiet)
    typer.echo(str(out))


def _say_made(made: MadeManifest, target: str, *, quiet: bool) -> None:
    """What was made, and what was left out."""
    for warning in made.warnings:
        remark(f"Warning: {warning}", quiet=quiet)
    for what, names in (
        ("files without a label, left out", made.unlabelled),
        ("labels without a file", made.without_file),
        ("files that cannot be read, left out", [f"{file} ({reason})" for file, reason in made.unreadable]),
        (
            "sets of files with the same content, put in one group",
            [" = ".join(ids) for ids in made.duplicates],
        ),
    ):
        if names:
            more = ", ..." if len(names) > NAMED else ""
            remark(f"{len(names)} {what}: {', '.join(names[:NAMED])}{more}", quiet=quiet)
    cases = made.manifest.cases
    remark(
        f"{len(cases)} cases, {len({c.group for c in cases})} groups, {_what(made.manifest, target)}",
        quiet=quiet,
    )


def _what(manifest: Manifest, target: str) -> str:
    """The classes, or the range of a number."""
    spec = manifest.target(target)
    if spec.kind != "number":
        return f"{len(spec.classes)} classes: {', '.join(spec.classes)}"
    values = [value for case in manifest.cases if isinstance(value := case.targets[target], float)]
    return f"{target} from {min(values):g} to {max(values):g} {spec.unit}".rstrip()


@app.command("verify")
def verify(
    name: Annotated[str, typer.Argument(help="A manifest's id or path.")],
    quick: Annotated[bool, typer.Option("--quick", help="Compare sizes only, not contents.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare every file of a manifest with its recorded size and SHA-256."""
    from tessera.core.data.manifest import Manifest

    manifest = Manifest.load(name)
    with progress(f"reading {manifest.info.id}", quiet=quiet or as_json) as show:
        show(0, manifest.total_bytes)
        problems = manifest.verify(show.advance, rehash=not quick)
    if as_json:
        rows = [{"case": p.case_id, "path": p.path, "problem": p.what} for p in problems]
        print_json({"cases": len(manifest.cases), "problems": rows})
    else:
        for problem in problems:
            typer.echo(f"{problem.case_id}: {problem.what}")
        what = "all files are there and right" if not problems else f"{len(problems)} problems"
        remark(f"{manifest.info.id}: {len(manifest.cases)} cases, {what}", quiet=quiet)
    if problems:
        raise typer.Exit(3)


@app.command("list")
def list_manifests(as_json: Json = False) -> None:
    """List the manifests that can be named by id."""
    from tessera.core.data.locate import manifest_ids
    from tessera.core.data.manifest import Manifest

    manifests = [Manifest.load(name) for name in manifest_ids()]
    rows = [
        {
            "id": m.info.id,
            "title": m.info.title,
            "cases": len(m.cases),
            "present": sum(_is_here(case) for case in m.cases),
            "licence": m.info.licence,
        }
        for m in manifests
    ]
    if as_json:
        print_json(rows)
        return
    print_table(
        "", ["id", "title", "cases", "files here", "licence"], [[str(v) for v in r.values()] for r in rows]
    )


def _is_here(case: Case) -> bool:
    return all(file.path is not None for file in (*case.all_files(), *case.target_files()))


def fetch(
    name: Annotated[str, typer.Argument(help="A manifest's id or path, or timm:MODEL for its weights.")],
    dest: Annotated[Path | None, typer.Option(help="Where to; default: the cache folder.")] = None,
    quiet: Quiet = False,
) -> None:
    """Download a manifest's files and check their SHA-256; the only command that uses the network."""
    from tessera.core.data.fetch import fetch as fetch_files
    from tessera.core.data.manifest import Manifest

    if name.startswith("timm:"):
        _fetch_timm(name.removeprefix("timm:"), dest, quiet=quiet)
        return
    manifest = Manifest.load(name)
    with progress(f"fetching {manifest.info.id}", quiet=quiet) as show:
        show(0, manifest.total_bytes)
        result = fetch_files(manifest, dest=dest, progress=show.advance)
    for failure in result.failures:
        typer.echo(f"{failure.case_id}: {failure.what}")
    remark(
        f"{result.present} files were here, {result.fetched} fetched, {len(result.failures)} failed",
        quiet=quiet,
    )
    if result.failures:
        raise typer.Exit(3)


def _fetch_timm(name: str, dest: Path | None, *, quiet: bool) -> None:
    from tessera.core.adapters.timm_weights import fetch_weights
    from tessera.core.config import dump_yaml

    with progress(f"fetching {name}", quiet=quiet) as show:
        weights = fetch_weights(name, dest=dest, progress=show.advance)
    remark(f"SHA-256 {weights.sha256}; in a config:", quiet=quiet)
    typer.echo(dump_yaml({"model": {"encoder": weights.encoder()}}), nl=False)


def _pipeline_of_domain(domain: str) -> Pipeline:
    from tessera.core.errors import ConfigError
    from tessera.core.pipeline import discover

    for pipeline in discover().values():
        if pipeline.domain == domain:
            return pipeline
    raise ConfigError(f"the package for {domain} is not installed", hint=f"pip install tessera-{domain}")
