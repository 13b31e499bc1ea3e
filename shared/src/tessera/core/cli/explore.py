"""``tessera list``, ``info`` and ``doctor``: what is installed and whether it works."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from typing import Annotated

import typer

from tessera.core.cli.console import Json, print_json, print_table
from tessera.core.cli.output_options import described


def list_pipelines(as_json: Json = False) -> None:
    """List the installed pipelines and their presets."""
    from tessera.core.pipeline import discover

    found = [
        {
            "name": p.name,
            "domain": p.domain,
            "task": p.task,
            "summary": p.summary,
            "presets": list(p.presets),
        }
        for p in discover().values()
    ]
    if as_json:
        print_json(found)
        return
    rows = [[p.name, p.domain, p.task, p.summary, ", ".join(p.presets)] for p in discover().values()]
    print_table("", ["pipeline", "field", "task", "what it does", "presets"], rows)


def info(
    name: Annotated[str, typer.Argument(help="A pipeline of `tessera list`.")],
    *,
    preset: Annotated[str | None, typer.Option(help="Show this preset's complete config as YAML.")] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Show the config's JSON Schema.")] = False,
    as_json: Json = False,
) -> None:
    """Describe a pipeline: what it reads, its presets and fields, how to cite it."""
    from tessera.core.config import dump_yaml, validate
    from tessera.core.pipeline import get

    pipeline = get(name)
    if schema:
        print_json(pipeline.resolve("config").model_json_schema())
        return
    if preset is not None:
        config = validate(
            pipeline.resolve("config"), pipeline.preset_values(preset), source=f"preset {preset}"
        )
        typer.echo(dump_yaml(config.model_dump(mode="json")), nl=False)
        return
    facts = {
        "name": pipeline.name,
        "field": pipeline.domain,
        "task": pipeline.task,
        "summary": pipeline.summary,
        "input": pipeline.inputs.description,
        "files": ", ".join(pipeline.inputs.suffixes),
        "presets": ", ".join(pipeline.presets),
        "data sets": ", ".join(pipeline.manifests),
        "simulators": ", ".join(pipeline.simulators),
        "intended use": pipeline.intended_use,
        "limits": pipeline.limits,
        "cite": pipeline.citation,
        "licence": pipeline.licence,
    }
    if as_json:
        print_json(facts)
        return
    print_table("", ["", name], [[key, value] for key, value in facts.items()])
    if options := described(pipeline):
        print_table("Its own options of tessera predict", ["option", "what", "default"], options)
    typer.echo(f"tessera info {name} --preset {pipeline.presets[0]} shows a preset's every field.")


def doctor(as_json: Json = False) -> None:
    """Check this machine: versions, device, memory, disk, data folders, sound and browser."""
    checks = [_check(name, look) for name, look in _CHECKS.items()]
    if as_json:
        print_json([{"check": name, "ok": ok, "found": found} for name, ok, found in checks])
    else:
        print_table("", ["check", "", "found"], [[n, "ok" if ok else "PROBLEM", f] for n, ok, f in checks])
    if not all(ok for _, ok, _ in checks):
        raise typer.Exit(3)


def _check(name: str, look: Callable[[], str]) -> tuple[str, bool, str]:
    try:
        return name, True, look()
    except Exception as error:
        return name, False, f"{type(error).__name__}: {error}"


def _python() -> str:
    return f"{platform.python_version()} on {platform.system()} {platform.machine()}"


def _packages() -> str:
    names = ("tessera-core", "torch", "lightning", "numpy", "scikit-learn")
    return ", ".join(f"{name} {version(name)}" for name in names)


def _pipelines() -> str:
    from tessera.core.pipeline import discover

    pipelines = discover()
    if not pipelines:
        raise RuntimeError("no field is installed; try: pip install tessera-audio")
    for pipeline in pipelines.values():
        pipeline.resolve("reader")
    return ", ".join(pipelines)


def _device() -> str:
    import torch

    threads = f"{torch.get_num_threads()} CPU threads"
    if not torch.cuda.is_available():
        return f"no GPU; {threads}"
    return f"{torch.cuda.get_device_name(0)}, CUDA {torch.version.cuda}; {threads}"


def _disk() -> str:
    free = shutil.disk_usage(".").free / 2**30
    if free < 1:
        raise RuntimeError(f"{free:.2f} GiB free here; results may not fit")
    return f"{free:.0f} GiB free here"


def _data() -> str:
    from tessera.core.data.locate import cache_folder, manifest_ids

    root = os.environ.get("TESSERA_DATA_ROOT")
    if root and not os.path.isdir(root):  # noqa: PTH112 - the text is shown as it was given
        raise RuntimeError(f"TESSERA_DATA_ROOT names {root}, which is no folder")
    return (
        f"root {root or 'not set'}; cache {cache_folder()}; manifests {', '.join(manifest_ids()) or 'none'}"
    )


def _optional() -> str:
    found = []
    for name in ("onnx", "mlflow", "tensorboard", "ray", "timm", "torchvision"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            continue
    return ", ".join(found) or "none installed"


_CHECKS: dict[str, Callable[[], str]] = {
    "python": _python,
    "packages": _packages,
    "pipelines": _pipelines,
    "device": _device,
    "disk": _disk,
    "data": _data,
    "optional": _optional,
}
