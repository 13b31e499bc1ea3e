"""A tiny pipeline over arrays of 12 x 12 pixels, for tests of everything that needs one (no torch on import).

Cases carry no files: their array is computed from the case's ``select``. ``.npy`` files work too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BeforeValidator, Field

from tessera.core.backbone_config import ClassifierConfig
from tessera.core.config import Config
from tessera.core.data.case import Case, FileRef, Source, Target
from tessera.core.data.dataset_info import DatasetInfo
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.data.manifest import Manifest
from tessera.core.data.targets import TargetSpec
from tessera.core.errors import DataError
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.pipeline import InputContract, Pipeline
from tessera.core.reference_config import ReferenceConfig
from tessera.core.report.media import CaseMedia
from tessera.core.run_config import DataConfig, RunConfig

if TYPE_CHECKING:
    from tessera.core.data.sample import Sample
    from tessera.core.network import Network
    from tessera.core.transforms.interface import BatchTransforms

SIDE = 12
CLASSES = ("fine", "medium", "coarse")


class SyntheticDataConfig(DataConfig):
    """Window of the synthetic pipeline."""

    window: int = Field(8, ge=1, description="side of the network's input, pixels")


class SyntheticModelConfig(Config):
    """Size of the synthetic network."""

    kind: Literal["plain"] = "plain"
    channels: int = Field(4, ge=1)
    dropout: float = Field(0.1, ge=0.0, lt=1.0)


def _kind_plain(value: Any) -> Any:
    return {"kind": "plain", **value} if isinstance(value, Mapping) else value


AnyModel = Annotated[
    SyntheticModelConfig | ClassifierConfig | ReferenceConfig,
    Field(discriminator="kind"),
    BeforeValidator(_kind_plain),
]


class SyntheticConfig(RunConfig):
    """The run config of the synthetic pipeline."""

    data: SyntheticDataConfig = SyntheticDataConfig()
    model: AnyModel = SyntheticModelConfig()


def stripes(kind: int, seed: int) -> npt.NDArray[np.float32]:
    """Vertical stripes (1, 12, 12) of period 2, 4 or 8 pixels with random phase and a little noise."""
    rng = np.random.default_rng(seed)
    columns = np.arange(SIDE) + rng.uniform(0, SIDE)
    wave = np.sin(2 * np.pi * columns / 2.0 ** (kind % len(CLASSES) + 1) + 0.5)
    return (wave + 0.1 * rng.standard_normal((1, SIDE, SIDE))).astype(np.float32)


class MemorySource:
    """A source over an array (C, *S)."""

    def __init__(self, array: npt.NDArray[np.float32]) -> None:
        self._array = array

    @property
    def grid(self) -> Pixels:
        """The array's pixels."""
        return Pixels(self._array.shape[1:])

    def read(self, region: Region | None = None) -> Sample:
        """The region's values (C, *S)."""
        import torch

        start = region.start if region else (0,) * (self._array.ndim - 1)
        stop = region.stop if region else self._array.shape[1:]
        part = self._array[(slice(None), *map(slice, start, stop))]
        geometry = self.grid.crop(Region(tuple(start), tuple(stop)))
        return {"input": torch.from_numpy(part.copy()), "geometry": geometry}

    def close(self) -> None:
        """Nothing to release."""


class SyntheticReader:
    """Opens cases made by ``synthetic_cases`` and finds ``.npy`` files (C, H, W)."""

    def find(self, path: Path) -> Iterable[Case]:
        """One case a ``.npy`` file, sorted by name."""
        files = [path] if path.is_file() else sorted(path.rglob("*.npy"))
        return [Case(id=file.stem, files={"array": FileRef(path=file)}, group=file.stem) for file in files]

    def open(self, case: Case) -> Source:
        """The case's array; ``select["broken"]`` makes a case that cannot be read."""
        if case.select.get("broken"):
            raise DataError("the synthetic file is broken", found="0 bytes", expected="an array")
        if "array" in case.files:
            try:
                return MemorySource(np.load(case.path("array"), allow_pickle=False).astype(np.float32))
            except (OSError, ValueError, EOFError) as error:
                raise DataError(f"cannot read {case.path('array').name}", found=error) from None
        return MemorySource(stripes(int(case.select["kind"]), int(case.select["seed"])))


class SquareWindows:
    """Square windows of ``side`` pixels of one channel; two corners are planned, any place is drawn."""

    def __init__(self, side: int) -> None:
        self.side = side

    @property
    def input_shape(self) -> tuple[int, ...]:
        """(1, side, side)."""
        return (1, self.side, self.side)

    def plan(self, grid: Geometry) -> Sequence[Region]:
        """The upper left and the lower right corner; one window when they are the same."""
        height, width = grid.shape
        last = (height - self.side, width - self.side)
        return [self._at(corner) for corner in dict.fromkeys([(0, 0), last])]

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        """A window anywhere inside."""
        return self._at(tuple(int(rng.integers(0, size - self.side + 1)) for size in grid.shape))

    def read(self, source: Source, region: Region) -> Sample:
        """The window's values (1, side, side)."""
        return source.read(region)

    def prepare(self, source: Source) -> tuple[npt.NDArray[np.float32], Geometry]:
        """The whole array (1, H, W) and its grid."""
        return source.read()["input"].numpy(), source.grid

    def _at(self, corner: tuple[int, ...]) -> Region:
        return Region(corner, tuple(place + self.side for place in corner))


class SyntheticWriter:
    """One JSON file a case and one CSV table of all."""

    def write(self, result: CaseResult, out: Path) -> Written:
        """Write ``<id>.json``."""
        out.mkdir(parents=True, exist_ok=True)
        summary = [round(float(value), 6) for value in result.summary]
        (out / f"{result.case.id}.json").write_text(json.dumps(summary), encoding="utf-8")
        return Written((f"{result.case.id}.json",), {"cases": [{"case": result.case.id, "scores": summary}]})

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        """Write ``cases.csv``."""
        lines = [
            ",".join([row["case"], *map(str, row["scores"])]) for _, w in cases for row in w.rows["cases"]
        ]
        (out / "cases.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return ("cases.csv",)


class NoFigures:
    """Shows nothing of a case."""

    def draw(self, case: Case) -> CaseMedia:
        """An empty set of pictures."""
        return CaseMedia()


def reader(config: SyntheticConfig) -> SyntheticReader:
    """The synthetic reader."""
    return SyntheticReader()


def windows(config: SyntheticConfig) -> SquareWindows:
    """Windows of the configured side."""
    return SquareWindows(config.data.window)


def network(config: SyntheticConfig, n_outputs: int) -> Network:
    """Two convolutions with batch norm and dropout, or one of the backbone; pairs of rows are pooled."""
    from torch import nn

    from tessera.core.network import Network

    pool = nn.AvgPool2d((2, 1))
    if not isinstance(config.model, SyntheticModelConfig):
        return Network(pool, config.model.build(2, 1, n_outputs))
    width = config.model.channels
    body = nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(config.model.dropout),
        nn.Linear(2 * width, n_outputs),
    )
    return Network(pool, body)


def transforms(config: SyntheticConfig) -> BatchTransforms:
    """What every field has."""
    from tessera.core.transforms.compose import StandardTransforms

    return StandardTransforms(config.augment)


def writer(config: SyntheticConfig, target: TargetSpec) -> SyntheticWriter:
    """The synthetic writer."""
    return SyntheticWriter()


def figures(config: SyntheticConfig) -> NoFigures:
    """No figures."""
    return NoFigures()


_HERE = "tessera.core.testing.synthetic"
SYNTHETIC = Pipeline(
    name="synthetic",
    domain="core.testing",
    summary="stripes of three widths, computed in memory",
    task="classification",
    config=f"{_HERE}:SyntheticConfig",
    reader=f"{_HERE}:reader",
    windows=f"{_HERE}:windows",
    network=f"{_HERE}:network",
    transforms=f"{_HERE}:transforms",
    writer=f"{_HERE}:writer",
    figures=f"{_HERE}:figures",
    presets=("smoke",),
    inputs=InputContract(suffixes=(".npy",), description="arrays (1, H, W) without units"),
    citation="none",
    licence="Apache-2.0",
    intended_use="tests of the core",
    limits="anything else",
)


def synthetic_cases(n: int = 12, *, seed: int = 0, broken: Sequence[int] = ()) -> tuple[Case, ...]:
    """``n`` cases in groups of one, classes in turn, with a class, tags and a number as targets."""
    return tuple(
        Case(
            id=f"case{index:03d}",
            files={},
            select={"kind": index % len(CLASSES), "seed": seed * 100_000 + index, "broken": index in broken},
            targets=_targets(index % len(CLASSES)),
            group=f"group{index:03d}",
            split=str(index % 4 + 1),
        )
        for index in range(n)
    )


def _targets(kind: int) -> Mapping[str, Target]:
    tags = ("striped", CLASSES[kind]) if kind else ("striped",)
    period = float(2 ** (kind + 1))
    return {"label": CLASSES[kind], "tags": tags, "period": period, "shape": (period, float(kind))}


def synthetic_targets() -> dict[str, TargetSpec]:
    """Specs of the four targets of ``synthetic_cases``."""
    return {
        "label": TargetSpec(kind="class", classes=CLASSES),
        "tags": TargetSpec(kind="tags", classes=("striped", *CLASSES[1:])),
        "period": TargetSpec(kind="number", unit="px"),
        "shape": TargetSpec(kind="numbers", classes=("period", "stripes"), unit="px"),
    }


class MemoryManifest(Manifest):
    """A manifest of cases without files, which the rows of samples.csv cannot tell apart."""

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the cases as Python writes them."""
        return hashlib.sha256(repr(self.cases).encode()).hexdigest()


def synthetic_manifest(n: int = 12, *, folder: Path = Path(), **options: Any) -> Manifest:
    """A manifest of ``synthetic_cases(n)``, in memory only."""
    info = DatasetInfo(id="synthetic", title="stripes", targets=synthetic_targets(), simulated=True)
    return MemoryManifest(info=info, cases=synthetic_cases(n, **options), folder=folder)


def synthetic_config(*, preset: str = "smoke", **sections: Any) -> SyntheticConfig:
    """The preset with sections laid over it, for instance ``trainer={"max_epochs": 3}``."""
    from tessera.core.config import merge, validate

    values, _ = merge(SYNTHETIC.preset_values(preset), sections)
    return validate(SyntheticConfig, values, source="synthetic config")
