from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from .source_tree import DISTRIBUTIONS, sources

NETWORK = {
    "socket",
    "ssl",
    "http",
    "urllib.request",
    "urllib.error",
    "requests",
    "httpx",
    "aiohttp",
    "ftplib",
    "smtplib",
}
NETWORK |= {"pooch", "huggingface_hub", "sentry_sdk", "wandb", "boto3"}
PICKLE = {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
TRAINING_STACK = {"lightning", "torchmetrics", "monai", "librosa", "sklearn", "matplotlib"}


def is_of(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(f"{module}.") for module in modules)


def test_networks_can_be_lifted_out() -> None:
    """Model files and the backbone import torch, the standard library and the backbone, nothing else.

    Triton comes with torch where there is a GPU; only the scan's kernels know it.
    """
    allowed = {"torch", "triton", "tessera.core.backbone"} | sys.stdlib_module_names
    files = [f for f in sources() if {"models", "backbone"} & set(f.module.split("."))]
    assert len(files) > 5
    wrong = [f"{f}:{line} {name}" for f in files for name, line in f.imports() if not is_of(name, allowed)]
    assert not wrong


def test_no_package_hides_the_others() -> None:
    assert [d for d in DISTRIBUTIONS if (d / "src" / "tessera" / "__init__.py").exists()] == []


def test_fields_never_import_each_other_and_core_imports_none() -> None:
    fields = {d.name for d in DISTRIBUTIONS} - {"shared"}
    wrong = []
    for file in sources():
        own = file.module.split(".")[1]
        foreign = {f"tessera.{field}" for field in fields - {own}}
        wrong += [f"{file}:{line} {name}" for name, line in file.imports() if is_of(name, foreign)]
    assert not wrong


def test_only_fetch_can_reach_a_network() -> None:
    allowed = {("tessera.core.data.fetch", name) for name in NETWORK}
    allowed.add(("tessera.core.data.locate", "pooch"))  # where caches lie on this system
    wrong = [
        f"{file}:{line} {name}"
        for file in sources()
        for name, line in file.imports()
        if is_of(name, NETWORK) and not any(file.module == m and is_of(name, {n}) for m, n in allowed)
    ]
    assert not wrong


def test_nothing_is_pickled() -> None:
    wrong = [
        f"{file}:{line} {name}" for file in sources() for name, line in file.imports() if is_of(name, PICKLE)
    ]
    for file in sources():
        for name, call in file.calls():
            options = {k.arg: getattr(k.value, "value", None) for k in call.keywords}
            if name == "torch.load" and options.get("weights_only") is not True:
                wrong.append(f"{file}:{call.lineno} torch.load without weights_only=True")
            if name in ("np.load", "np.save") and options.get("allow_pickle") is not False:
                wrong.append(f"{file}:{call.lineno} {name} without allow_pickle=False")
            if name == "torch.save" and ".training." not in file.module:
                wrong.append(f"{file}:{call.lineno} torch.save outside training")
    assert not wrong


LIGHT = """
import importlib, json, sys
HEAVY = {"torch", "lightning", "sklearn", "matplotlib", "librosa", "scipy"}
loaded = {}
def stage(name):
    loaded[name] = sorted(HEAVY & set(sys.modules))
from tessera.core.cli.app import main
stage("command line")
from tessera.core.config import validate
from tessera.core.pipeline import discover
count = 0
for pipeline in discover().values():
    for preset in pipeline.presets:
        validate(pipeline.resolve("config"), pipeline.preset_values(preset), source=preset)
        count += 1
stage("presets")
for name in ("manifest", "manifest_io", "manifest_checks", "splits", "targets", "hashing", "locate", "fetch"):
    importlib.import_module("tessera.core.data." + name)
stage("manifests")
for name in ("", ".metrics", ".bootstrap", ".calibration", ".table", ".predictions"):
    importlib.import_module("tessera.core.evaluation" + name)
stage("evaluation")
import tessera.core.bundle.card
stage("cards")
print(json.dumps({"count": count, "loaded": loaded}))
"""


def in_a_fresh_process(code: str) -> Any:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_listing_validating_and_evaluating_load_no_torch() -> None:
    answer = in_a_fresh_process(LIGHT)
    loaded = answer["loaded"]
    assert list(loaded) == ["command line", "presets", "manifests", "evaluation", "cards"]
    assert not any(loaded.values()), loaded
    assert answer["count"] >= len(DISTRIBUTIONS)


@pytest.mark.slow
def test_predicting_loads_no_training_stack() -> None:
    packages = ("tessera.core.inference", "tessera.core.bundle")
    modules = sorted(f.module for f in sources() if f.module.startswith(packages))
    code = f"import importlib, json, sys\nfor name in {modules}:\n    importlib.import_module(name)\n"
    code += f"print(json.dumps(sorted({TRAINING_STACK} & set(sys.modules))))"
    assert in_a_fresh_process(code) == []
