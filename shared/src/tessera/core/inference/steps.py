"""The steps of a prediction, which every engine calls: plan, read, forward, stitch, write."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from tessera.core.data.case import Case, Reader
from tessera.core.data.geometry import Geometry, Region
from tessera.core.data.targets import n_outputs
from tessera.core.data.windows import MaskWindows, Windows
from tessera.core.errors import DataError
from tessera.core.inference.embeddings import check_embeddings
from tessera.core.inference.extras import Extras, Parts
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.fusion import FusionRule, Task, fuse
from tessera.core.inference.interfaces import CaseResult, EmbeddingWriter, MapWriter, Stitcher, Writer
from tessera.core.inference.ledger import Identity
from tessera.core.inference.mask_stitcher import MaskRules, MaskStitcher
from tessera.core.inference.reading import Opened
from tessera.core.inference.schedule import Schedule
from tessera.core.inference.tta import changes
from tessera.core.inference.writing import build_reader, build_writer, output_options

if TYPE_CHECKING:
    from tessera.core.bundle.bundle import Bundle
    from tessera.core.config import Config
    from tessera.core.run_config import InferenceConfig

__all__ = ["ForwardPass", "Steps", "WindowStitcher", "choose_device", "code_version"]


class WindowStitcher:
    """One answer a region, in any order, fused to one answer of the case."""

    def __init__(
        self,
        case: Case,
        grid: Geometry,
        regions: Sequence[Region],
        *,
        task: Task,
        fusion: FusionRule,
        extras: Extras | None = None,
    ) -> None:
        self._case = case
        self._grid = grid
        self._regions = tuple(regions)
        self._task: Task = task
        self._fusion: FusionRule = fusion
        self._extras = extras
        self._rows: dict[int, npt.NDArray[np.float32]] = {}

    def add(self, index: int, raw: npt.NDArray[np.float32]) -> None:
        """Take the answer (K,) of region ``index``."""
        if index in self._rows or not 0 <= index < len(self._regions):
            raise ValueError(
                f"case {self._case.id}: region {index} of {len(self._regions)} "
                + ("was added twice" if index in self._rows else "does not exist")
            )
        if not np.isfinite(raw).all():
            raise DataError(
                f"case {self._case.id}: the network's output is not finite",
                found=f"{np.asarray(raw).tolist()} for elements {self._regions[index].start} to "
                f"{self._regions[index].stop}",
                expected="numbers",
                hint="look at the input there: values far outside the input contract cause this",
            )
        self._rows[index] = np.array(raw, dtype=np.float32)

    def finish(self) -> CaseResult:
        """All regions together."""
        missing = [index for index in range(len(self._regions)) if index not in self._rows]
        if missing or not self._regions:
            raise ValueError(
                f"case {self._case.id}: {len(missing)} of {len(self._regions)} regions are missing, "
                f"first {missing[:1]}"
            )
        rows = np.stack([self._rows[index] for index in range(len(self._regions))])
        found = Parts(rows, None, None) if self._extras is None else self._extras.split(rows)
        summary = fuse(found.answers, task=self._task, rule=self._fusion).astype(np.float32)
        return CaseResult(
            self._case,
            self._grid,
            self._regions,
            found.answers,
            summary,
            embeddings=found.embeddings,
            maps=found.maps,
        )


@dataclass(frozen=True, kw_only=True)
class Steps:
    """The parts of one bundle's prediction.

    Args:
        reader: Opens cases.
        windows: Cuts them into inputs.
        forward: Runs the network.
        writer: Writes results.
        identity: What the ledger checks before it goes on with old results.
        startup_s: Seconds by part of the start-up, for the stage table.
        masks: How windows become a mask; None where the answer is not one.
    """

    reader: Reader
    windows: Windows
    forward: ForwardPass
    writer: Writer
    identity: Identity
    startup_s: Mapping[str, float] = field(default_factory=dict)
    masks: MaskRules | None = None

    def plan(self, prepared: Geometry) -> Schedule:
        """What is computed of a case, in order, given the grid on which its windows are cut."""
        regions = tuple(self.windows.plan(prepared))
        return Schedule(regions) if self.masks is None else self.masks.schedule(prepared, regions)

    def stitcher(self, opened: Opened) -> Stitcher:
        """Collects the answers of one case."""
        case = opened.job.case
        if self.masks is not None:
            return MaskStitcher(case, opened.grid, opened.prepared, opened.schedule, rules=self.masks)
        forward = self.forward
        return WindowStitcher(
            case,
            opened.grid,
            opened.regions,
            task=forward.task,
            fusion=forward.fusion,
            extras=forward.extras,
        )

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        device: torch.device | str = "auto",
        threads: int | None = None,
        inference: InferenceConfig | None = None,
        input: Config | None = None,
        output: Config | None = None,
    ) -> Steps:
        """The steps a bundle describes.

        Args:
            bundle: An opened bundle.
            device: Where the network runs; ``auto`` takes a GPU when there is one.
            threads: Threads of the network on a CPU; ``None`` leaves torch's choice.
            inference: Used instead of the bundle's own inference section.
            input: Options of the inputs, of the pipeline's ``read_options``; None: their defaults.
            output: Options of the outputs, of the pipeline's ``predict_options``; None: their defaults.
        """
        start = time.perf_counter()
        device = choose_device(device)
        if threads is not None:
            torch.set_num_threads(threads)
        config, pipeline, target = bundle.config, bundle.pipeline, bundle.card.target
        output = output_options(pipeline, {}) if output is None else output
        writer = build_writer(bundle, output)  # refuses options that do not fit the bundle before it loads
        options = inference or config.inference
        windows: Windows = pipeline.resolve("windows")(config)
        changes(options.tta, spatial_dims=len(windows.input_shape) - 1)  # refuses unknown names now
        networks = bundle.networks(device)
        embeds = isinstance(writer, EmbeddingWriter) and writer.takes_embeddings
        explained = writer.explained if isinstance(writer, MapWriter) else None
        if embeds:
            check_embeddings(networks, source=bundle.path)
        forward = ForwardPass(
            networks,
            task=target.kind,
            batch_size=options.batch_size,
            device=device,
            temperature=bundle.calibration.temperature,
            fusion=options.fusion,
            tta=options.tta,
            member_fusion=bundle.calibration.fusion,
            mirror_swaps=windows.mirror_swaps if isinstance(windows, MaskWindows) else None,
            extras=Extras(
                answers=n_outputs(target),
                shape=tuple(windows.input_shape[1:]),
                maps=explained,
                embeddings=embeds,
            )
            if embeds or explained is not None
            else None,
        )
        return cls(
            reader=build_reader(bundle, input),
            windows=windows,
            forward=forward,
            writer=writer,
            identity=Identity(
                bundle_digest=bundle.digest,
                config_digest=_options_digest(options, output),
                code_version=code_version(device),
                bundle_path=str(bundle.path),
                output="" if output is None else output.model_dump_json(),
            ),
            startup_s={"model load": time.perf_counter() - start},
            masks=MaskRules(classes=n_outputs(target), patch=tuple(windows.input_shape[1:]))
            if target.kind == "mask"
            else None,
        )


def choose_device(device: torch.device | str) -> torch.device:
    """The device meant; ``auto`` is a GPU when there is one, else the CPU."""
    if device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(device)


def code_version(device: torch.device | str = "cpu") -> str:
    """Versions and kind of machine, all of which can change a result's last bits."""
    try:
        own = version("tessera-core")
    except PackageNotFoundError:  # run from a source tree
        own = "source"
    kind = torch.device(device).type
    machine = (
        torch.cuda.get_device_name(device)
        if kind == "cuda"
        else f"{torch.backends.cpu.get_cpu_capability()}, {torch.get_num_threads()} threads"
    )
    return f"tessera {own}, torch {torch.__version__}, numpy {np.__version__}, {kind} {machine}"


def _options_digest(options: InferenceConfig, output: Config | None) -> str:
    values = options.model_dump(mode="json", exclude={"timeout_s"})  # a longer wait changes no result
    if output is not None:
        values["output"] = output.model_dump(mode="json")
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
