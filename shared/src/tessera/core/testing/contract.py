"""What every pipeline, preset and network must do; a field's author calls these checks from a test.

Each check raises ``AssertionError`` with a sentence. They need no data beyond what a simulator makes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from tessera.core.config import Config, dump_yaml, loads_yaml, validate
from tessera.core.data.cache import ArraySource
from tessera.core.data.case import Case, Reader, Source
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.manifest import Manifest
from tessera.core.data.part_labels import PartLabels
from tessera.core.data.targets import TargetSpec, encode_target
from tessera.core.data.windows import WholeWindows, Windows
from tessera.core.inference.interfaces import CaseResult, Outcome, OutcomeWriter, Writer
from tessera.core.network import Network
from tessera.core.pipeline import Pipeline, TaskName, resolve
from tessera.core.report.media import CaseFigures
from tessera.core.run_config import RunConfig
from tessera.core.testing.mask_contract import (
    ambient_seed,
    check_heads,
    example_masks,
    example_result,
    fill_zeros,
    mask_protocols,
    mask_target,
    require,
    weighed_answers,
)
from tessera.core.transforms.interface import BatchTransforms

CHOICES = ("read_options", "predict_options", "labels")  # Config classes of what a person can choose
REFERENCES = ("config", "reader", "windows", "network", "transforms", "writer", "figures")
N_OUTPUTS = 3
BATCH_TOLERANCE = 1e-4  # kernels for other batch sizes sum in another order
TARGET = TargetSpec(kind="class", classes=("first", "second", "third"))


def target_of(pipeline: Pipeline, config: RunConfig) -> TargetSpec:
    """An example of what the config's network can learn, with as many classes as the checks ask for."""
    return mask_target(pipeline, config) if pipeline.task == "segmentation" else TARGET


# ---------------------------------------------------------------- a pipeline's data


def check_pipeline(pipeline: Pipeline) -> None:
    """Texts are there, every reference resolves, the config is a run config, a smoke preset exists."""
    name = pipeline.name
    require(re.fullmatch(r"[a-z][a-z0-9-]*", name), f"'{name}' is not a name such as tidal-features")
    for text in ("summary", "citation", "licence", "intended_use", "limits"):
        require(getattr(pipeline, text).strip(), f"{name}: {text} is empty")
    require("\n" not in pipeline.summary, f"{name}: the summary is more than one line")
    require(pipeline.task in get_args(TaskName), f"{name}: there is no task {pipeline.task}")
    require(pipeline.inputs.description.strip(), f"{name}: the input contract is not described")
    for suffix in pipeline.inputs.suffixes:
        require(re.fullmatch(r"\.[a-z0-9.]+", suffix), f"{name}: '{suffix}' is not an ending such as .wav")
    require("smoke" in pipeline.presets, f"{name}: there is no preset smoke")
    require(len(set(pipeline.presets)) == len(pipeline.presets), f"{name}: a preset is named twice")
    for attribute in REFERENCES:
        require(callable(pipeline.resolve(attribute)), f"{name}: {attribute} cannot be called")
    for attribute in ("configure", "example", "scores", "measures", "rivals"):
        known = not getattr(pipeline, attribute) or callable(pipeline.resolve(attribute))
        require(known, f"{name}: {attribute} cannot be called")
    kinds = {name: pipeline.resolve(name) for name in CHOICES if getattr(pipeline, name)}
    for attribute, kind in kinds.items():
        require(issubclass(kind, Config), f"{name}: {attribute} is not a Config class")
    labels = kinds.pop("labels", None)
    require(labels is None or isinstance(labels(), PartLabels), f"{name}: labels is not a PartLabels")
    options = [field for kind in kinds.values() for field in kind.model_fields]
    require(len(set(options)) == len(options), f"{name}: two options of tessera predict share a name")
    for simulator, reference in pipeline.simulators.items():
        require(callable(resolve(reference)), f"{name}: simulator {simulator} cannot be called")
    require(issubclass(pipeline.resolve("config"), RunConfig), f"{name}: its config is not a RunConfig")


def check_nothing_escapes(pipelines: Iterable[Pipeline]) -> None:
    """Every preset file is named by a pipeline, every model file is built by a preset, of one field."""
    pipelines = tuple(pipelines)
    (domain,) = {pipeline.domain for pipeline in pipelines}
    named = {f"{p.name}.{preset}.yaml" for p in pipelines for preset in p.presets}
    found = {item.name for item in (files(f"tessera.{domain}") / "presets").iterdir()}
    require(
        named == found, f"presets of {domain} that are only named or only a file: {sorted(named ^ found)}"
    )
    models = files(f"tessera.{domain}") / "models"
    if not models.is_dir():
        return
    written = {item.name.removesuffix(".py") for item in models.iterdir() if item.name.endswith(".py")}
    built = {
        type(part).__module__.rpartition(".")[2]
        for pipeline in pipelines
        for preset in pipeline.presets
        for part in build(pipeline, load_preset(pipeline, preset)).modules()
        if type(part).__module__.startswith(f"tessera.{domain}.models.")
    }
    missed = sorted(written - {"__init__"} - built)
    require(not missed, f"model files of {domain} that no preset builds: {missed}")


def check_manifest(name: str | Path) -> None:
    """A shipped manifest loads, says where it is from, and its targets, if any, are of their kind."""
    manifest = Manifest.load(name)
    info = manifest.info
    for text in ("title", "licence", "source"):
        require(str(getattr(info, text)).strip(), f"manifest {info.id}: {text} is empty")
    for case in manifest.cases:
        require(case.group, f"manifest {info.id}: {case.id} has no group")
        _check_targets(manifest, case)
        for reference in (*case.all_files(), *case.target_files()):
            known = re.fullmatch("[0-9a-f]{64}", reference.sha256 or "") and reference.bytes
            require(known, f"manifest {info.id}: {case.id} has a file without SHA-256 and size")


def _check_targets(manifest: Manifest, case: Case) -> None:
    for target, spec in manifest.info.targets.items():
        require(target in case.targets or spec.partial, f"{case.id} has no target {target}")
        if spec.kind == "mask" and target in case.targets:
            require(case.target_file(target).sha256, f"{case.id}: the mask {target} has no hash")
        elif target in case.targets:
            encode_target(spec, case.targets[target], case_id=case.id)


# ---------------------------------------------------------------- a preset


def load_preset(pipeline: Pipeline, preset: str, **sections: Mapping[str, Any]) -> RunConfig:
    """The preset's config, completed as for a tiny data set; each section given is laid over the preset's."""
    values = pipeline.preset_values(preset)
    for name, section in sections.items():
        values[name] = {**values.get(name, {}), **section}
    config: RunConfig = validate(pipeline.resolve("config"), values, source=f"preset {preset}")
    return pipeline.resolve("example")(config) if pipeline.example else config


def check_preset(pipeline: Pipeline, preset: str) -> None:
    """It validates, survives its own YAML, and every part built from it satisfies its protocol."""
    config = load_preset(pipeline, preset)
    where = f"preset {preset} of {pipeline.name}"
    require((config.pipeline, config.preset) == (pipeline.name, preset), f"{where} names another preset")
    again = loads_yaml(dump_yaml(config.model_dump(mode="json")))
    require(validate(type(config), again, source=where) == config, f"{where} does not survive its own YAML")
    parts: dict[str, tuple[Any, type]] = {
        "reader": (pipeline.resolve("reader")(config), Reader),
        "windows": (pipeline.resolve("windows")(config), Windows),
        "transforms": (pipeline.resolve("transforms")(config), BatchTransforms),
        "writer": (pipeline.resolve("writer")(config, target_of(pipeline, config)), Writer),
        "figures": (pipeline.resolve("figures")(config), CaseFigures),
    }
    if pipeline.task == "segmentation":
        parts |= mask_protocols(pipeline, config)
    for name, (part, protocol) in parts.items():
        require(isinstance(part, protocol), f"{where}: {name} is not a {protocol.__name__}")
    shape = parts["windows"][0].input_shape
    whole = len(shape) > 1 and all(isinstance(size, int) and size > 0 for size in shape)
    require(whole, f"{where}: the input shape {shape} is not (C, *S)")


# ---------------------------------------------------------------- a network


def build(pipeline: Pipeline, config: RunConfig, *, seed: int = 0) -> Network:
    """The config's network with weights drawn from the seed."""
    n_outputs = len(target_of(pipeline, config).classes)
    with ambient_seed(seed):
        network: Network = pipeline.resolve("network")(config, n_outputs=n_outputs)
    return network


def draw_input(pipeline: Pipeline, config: RunConfig, rows: int) -> Tensor:
    """Noise (rows, C, *S) of the config's input shape."""
    shape = pipeline.resolve("windows")(config).input_shape
    return torch.randn((rows, *shape), generator=torch.Generator().manual_seed(1))


def check_network(pipeline: Pipeline, config: RunConfig) -> None:
    """Shapes for one to three rows, the same answer again, and rows that do not see each other."""
    network, input = build(pipeline, config).eval(), draw_input(pipeline, config, 3)
    require(isinstance(network, Network), f"{type(network).__name__} is not a Network of front end and body")
    with torch.inference_mode():
        with ambient_seed(5):
            before = torch.get_rng_state()
            answers = {rows: network(input[:rows]) for rows in (1, 2, 3)}
            require(torch.equal(before, torch.get_rng_state()), "an answer draws from the global generator")
        with ambient_seed(6):
            again = network(input[:1])
        silent = network(torch.zeros_like(input[:1]))
    n_outputs = len(target_of(pipeline, config).classes)
    size = tuple(input.shape[2:]) if pipeline.task == "segmentation" else ()
    for rows, answer in answers.items():
        shape = (rows, n_outputs, *size)
        require(answer.shape == shape, f"{rows} rows give {tuple(answer.shape)}, expected {shape}")
        require(answer.isfinite().all(), f"the answer to noise is not finite: {answer}")
        apart = float((answer - answers[3][:rows]).abs().max())
        allowed = BATCH_TOLERANCE * max(1.0, float(answers[3].abs().max()))
        require(apart <= allowed, f"{rows} rows alone and among 3 differ by {apart:.2g}")
    require(torch.equal(answers[1], again), "the same input gives another answer")
    require(silent.isfinite().all(), f"the answer to zeros is not finite: {silent}")
    if size:
        with torch.no_grad(), ambient_seed(7):
            check_heads(network, input, n_outputs)


def check_gradients(pipeline: Pipeline, config: RunConfig) -> None:
    """A gradient reaches every parameter, and stays finite where the input is silent.

    Networks of masks are asked for the answers of all their heads, which they give in training; what is
    dropped at random then is kept.
    """
    network, input = build(pipeline, config).eval(), draw_input(pipeline, config, 1)
    fill_zeros(network)
    if pipeline.task == "segmentation":
        network.train()
        for module in network.modules():
            if next(module.parameters(), None) is None:
                module.eval()
    torch.autograd.backward(weighed_answers(network, input))
    for name, parameter in network.named_parameters():
        reached = parameter.grad is not None and bool((parameter.grad != 0).any())
        require(reached or not parameter.requires_grad, f"no gradient reaches {name}")
    torch.autograd.backward(weighed_answers(network, torch.zeros_like(input)))
    for name, parameter in network.named_parameters():
        finite = parameter.grad is None or bool(parameter.grad.isfinite().all())
        require(finite, f"the gradient of {name} is not finite for an input of zeros")


def check_state_dict(pipeline: Pipeline, config: RunConfig) -> None:
    """Weights loaded strictly into a network of another seed give the same answer."""
    network, other = build(pipeline, config), build(pipeline, config, seed=1).eval()
    with ambient_seed(2), torch.no_grad():
        network.train()(draw_input(pipeline, config, 2))  # gives batch norms a past
    network.eval()
    other.load_state_dict(network.state_dict(), strict=True)
    input = draw_input(pipeline, config, 1)
    with torch.inference_mode():
        require(torch.equal(network(input), other(input)), "loaded weights give another answer")


def check_export(pipeline: Pipeline, config: RunConfig) -> None:
    """``torch.export`` captures the network, and what it captured answers the same."""
    network, input = build(pipeline, config).eval(), draw_input(pipeline, config, 2)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # torch.export's own
        exported = torch.export.export(network, (input,), strict=False).module()
        apart = float((exported(input) - network(input)).abs().max())
    require(apart <= BATCH_TOLERANCE, f"the exported network's answer differs by {apart:.2g}")


def check_transforms(pipeline: Pipeline, config: RunConfig) -> None:
    """Random changes keep shapes, repeat with their generator, and draw from nothing else."""
    transforms = pipeline.resolve("transforms")(config)
    front_end: nn.Module = build(pipeline, config).front_end
    input = draw_input(pipeline, config, 4)
    target = torch.eye(N_OUTPUTS)[[0, 1, 2, 0]]
    if pipeline.task == "segmentation":
        target = example_masks((4, *input.shape[2:]), n=len(target_of(pipeline, config).classes))

    def run(ambient: int) -> tuple[Tensor, ...]:
        generator = torch.Generator().manual_seed(3)
        with ambient_seed(ambient), torch.no_grad():
            state = torch.get_rng_state()
            changed, mixed = transforms.on_input(input.clone(), target.clone(), generator)
            features = front_end(changed)
            masked, mixed_again = transforms.on_features(features.clone(), mixed.clone(), generator)
            require(torch.equal(state, torch.get_rng_state()), "the global generator was drawn from")
        require(changed.shape == input.shape, f"{tuple(input.shape)} became {tuple(changed.shape)}")
        require(masked.shape == features.shape, f"{tuple(features.shape)} became {tuple(masked.shape)}")
        require(mixed_again.shape == target.shape, "the target's shape changed")
        require(mixed_again.dtype == target.dtype, f"{target.dtype} became {mixed_again.dtype}")
        known = set(mixed_again.flatten().tolist()) <= set(target.flatten().tolist())
        require(known or pipeline.task != "segmentation", "a mask got classes that are none")
        return changed, masked, mixed_again

    for one, other in zip(run(1), run(2), strict=True):
        require(torch.equal(one, other), "the same generator gives another change")
        require(one.isfinite().all(), "a change is not finite")


# ---------------------------------------------------------------- reading and writing


def check_simulator(pipeline: Pipeline, simulator: str, out: Path, *, n: int = 4) -> Manifest:
    """Same seed, same bytes; the manifest says simulated, loads, and every target is of its kind."""
    simulate = resolve(pipeline.simulators[simulator])
    one, two, other = (
        simulate(out / name / "set", n=n, seed=seed, values={}, progress=None)
        for name, seed in (("one", 7), ("two", 7), ("other", 8))
    )
    require(_bytes(one.folder) == _bytes(two.folder), f"{simulator}: the same seed gives other bytes")
    require(_bytes(one.folder) != _bytes(other.folder), f"{simulator}: another seed gives the same bytes")
    require(one.info.simulated, f"{simulator}: the manifest does not say simulated")
    require(len(one.cases) == n, f"{simulator}: {len(one.cases)} cases, expected {n}")
    loaded = Manifest.load(one.folder)
    require(loaded.digest == one.digest, f"{simulator}: the manifest on disk is another one")
    for case in loaded.cases:
        _check_targets(loaded, case)
    return loaded


def _bytes(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def check_reading(pipeline: Pipeline, config: RunConfig, cases: Iterable[Case]) -> None:
    """Every case opens; planned and drawn windows have the promised shape; preparing keeps the grid."""
    reader = pipeline.resolve("reader")(config)
    windows = pipeline.resolve("windows")(config)
    for case in cases:
        source = reader.open(case)
        try:
            _check_windows(windows, source)
        finally:
            source.close()


def _check_windows(windows: Windows, source: Source) -> None:
    require(isinstance(source, Source) and isinstance(source.grid, Geometry), "the reader's source is none")
    array, grid = windows.prepare(source)
    require(array.dtype == np.float32, f"prepare gives {array.dtype}, expected float32")
    require(array.shape[1:] == tuple(grid.shape), f"prepared {array.shape} lies on a grid {grid.shape}")
    if isinstance(windows, WholeWindows) and windows.cuts_prepared:
        source = ArraySource(array, grid)
    plan = windows.plan(source.grid)
    require(plan and list(plan) == list(windows.plan(source.grid)), "the plan is empty or changes")
    drawn = [windows.draw(source.grid, np.random.default_rng(3)) for _ in range(2)]
    require(drawn[0] == drawn[1], "the same generator draws another region")
    for region in (*plan, drawn[0]):
        _check_inside(region, source.grid)
        sample = windows.read(source, region)
        input = sample["input"]
        require(tuple(input.shape) == windows.input_shape, f"read gives {tuple(input.shape)}")
        require(input.dtype == torch.float32 and input.isfinite().all(), "read gives no finite float32")
        require(isinstance(sample.get("geometry"), Geometry), "read drops the geometry")
        require(torch.equal(input, windows.read(source, region)["input"]), "reading again gives other values")


def _check_inside(region: Region, grid: Geometry) -> None:
    inside = all(0 <= a < b <= n for a, b, n in zip(region.start, region.stop, grid.shape, strict=True))
    require(inside, f"{region} is not inside {grid.shape}")


def check_writing(pipeline: Pipeline, config: RunConfig, cases: Iterable[Case], out: Path) -> None:
    """Results become files below ``out`` and tables, with the same bytes each time."""
    reader, windows = pipeline.resolve("reader")(config), pipeline.resolve("windows")(config)
    writer: Writer = pipeline.resolve("writer")(config, target_of(pipeline, config))
    spec, ordered = target_of(pipeline, config), sorted(cases, key=lambda case: case.id)
    results = [
        _result(case, reader, windows) if spec.kind != "mask" else example_result(case, reader, spec)
        for case in ordered
    ]
    for name in ("one", "two"):
        written = [(result.case, writer.write(result, out / name)) for result in results]
        tables = writer.collect(iter(written), out / name)
        if isinstance(writer, OutcomeWriter):
            outcomes = (Outcome(case, "ok", "", item) for case, item in written)
            tables += writer.collect_outcomes(outcomes, out / name)
        promised = {*tables, *(file for _, item in written for file in item.files)}
        missing = sorted(file for file in promised if not (out / name / file).is_file())
        require(promised and not missing, f"files that were promised and not written: {missing}")
        extra = sorted(set(_bytes(out / name)) - promised)
        require(not extra, f"files that were written and not promised: {extra}")
    require(_bytes(out / "one") == _bytes(out / "two"), "the same results give other bytes")


def _result(case: Case, reader: Reader, windows: Windows) -> CaseResult:
    source = reader.open(case)
    grid = source.grid
    source.close()
    regions = tuple(windows.plan(grid))
    scores = np.tile(np.array([[0.2, 0.3, 0.5]], dtype=np.float32), (len(regions), 1))
    return CaseResult(case=case, grid=grid, regions=regions, scores=scores, summary=scores[0])


def check_training(pipeline: Pipeline, simulator: str, out: Path, *, n: int = 20) -> None:
    """The smoke preset trains for an epoch on the simulator's data and leaves a bundle that verifies."""
    from tessera.core.training.train import Plan, train_one

    manifest = resolve(pipeline.simulators[simulator])(out / "data", n=n, seed=1, values={}, progress=None)
    config = load_preset(pipeline, "smoke", trainer={"max_epochs": 1})
    finished = train_one(Plan(config=config, data=str(manifest.folder), fold="1"), pipeline, out=out / "run")
    require(finished.bundle.verify() == 0.0, "the golden pair does not replay exactly on the same machine")
    require(finished.evaluation is not None, "the fold held out was not evaluated")
    for name in ("config.yaml", "environment.json", "splits.csv", "metrics.csv", "report.html"):
        require((out / "run" / name).is_file(), f"the run has no {name}")
