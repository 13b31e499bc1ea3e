"""A tiny field of masks for tests: volumes in .npy files, prepared by crop and a finer grid, cut in windows.

Run as a program, it predicts a folder and prints each case with its status (for tests that kill it).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.data.windows import Windows
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.inference.ledger import Identity
from tessera.core.inference.mask_stitcher import MaskRules
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps
from tessera.core.inference.tiling import window_regions

CLASSES = ("background", "left", "right")
PATCH = (6, 8, 5)
IDENTITY = Identity(bundle_digest="b" * 64, config_digest="c" * 64, code_version="1.0")


class VolumeSource:
    """A volume in memory; notes when it is closed."""

    def __init__(self, case: Case) -> None:
        self.array = np.load(case.path("image"))
        self.closed = False

    @property
    def grid(self) -> Pixels:
        return Pixels(self.array.shape)

    def read(self, region: Region | None = None) -> Any:
        assert region is None
        return {"input": torch.from_numpy(self.array[None])}

    def close(self) -> None:
        self.closed = True


class VolumeReader:
    """Finds ``.npy`` files below a folder."""

    def find(self, path: Path) -> Iterable[Case]:
        files = [path] if path.is_file() else sorted(path.rglob("*.npy"))
        return [Case(id=file.stem, files={"image": FileRef(path=file)}, group=file.stem) for file in files]

    def open(self, case: Case) -> VolumeSource:
        return VolumeSource(case)


class CroppedWindows:
    """The volume without its first and last plane, twice as fine along the last axis, less its mean."""

    input_shape = (1, *PATCH)
    cuts_prepared: Literal[True] = True

    def plan(self, grid: Geometry) -> Sequence[Region]:
        return window_regions(grid.shape, PATCH, (4, 4, 5), "back")

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        raise NotImplementedError

    def prepare(self, source: Any) -> tuple[np.ndarray, Geometry]:
        first, stop = (1, 0, 0), (source.grid.shape[0] - 1, *source.grid.shape[1:])
        values = source.read()["input"][:, 1:-1].repeat_interleave(2, dim=3)
        grid = source.grid.crop(Region(first, stop)).resample(values.shape[1:])
        return (values - values.mean()).numpy(), grid

    def read(self, source: Any, region: Region) -> Any:
        found = source.read(region)["input"]
        input = torch.zeros(self.input_shape)
        input[:, *(slice(0, size) for size in found.shape[1:])] = found
        return {"input": input}


class OddUnet(nn.Module):
    """Two convolutions of a size no vector unit divides, so that last bits depend on the row."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.layers = nn.Sequential(
            nn.Conv3d(1, 7, 3, padding=1), nn.Sigmoid(), nn.Conv3d(7, 3, 3, padding=1)
        )
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.4

    def forward(self, input: Tensor) -> Tensor:
        return self.layers(input)


class NpyWriter:
    """The mask as .npy and a table of counts."""

    def write(self, result: CaseResult, out: Path) -> Written:
        assert result.mask is not None
        name = f"{result.case.id}.bin"
        write_atomic(out / name, repr((result.mask.shape, result.mask.tobytes().hex())))
        return Written((name,), {"table": [{"case_id": result.case.id, "counts": result.summary.tolist()}]})

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        lines = [str(row) for _, written in cases for row in written.rows["table"]]
        write_atomic(out / "table.txt", "\n".join(lines))
        return ("table.txt",)


def make_steps(*, batch_size: int = 3, budget_bytes: int = 2**20, **changes: Any) -> Steps:
    """The fake field's steps."""
    windows: Windows = CroppedWindows()
    steps = Steps(
        reader=VolumeReader(),
        windows=windows,
        forward=ForwardPass([OddUnet()], task="mask", batch_size=batch_size),
        writer=NpyWriter(),
        identity=IDENTITY,
        masks=MaskRules(classes=len(CLASSES), patch=PATCH, budget_bytes=budget_bytes),
    )
    return replace(steps, **changes)


def make_volumes(folder: Path, *, n: int = 4, extra: Sequence[str] = ()) -> list[Case]:
    """Volumes of random sizes; ``extra`` ones by name, of which ``nan`` and ``huge`` are broken."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    for name in [*(f"case{i}" for i in range(n)), *extra]:
        values = rng.normal(size=rng.integers(5, 16, 3)).astype(np.float32)
        if "nan" in name:
            values[2, 2, 2] = np.nan
        if "huge" in name:
            values[2, 2, 2] = 1e38
        np.save(folder / f"{name}.npy", values)
    return list(VolumeReader().find(folder))


if __name__ == "__main__":
    torch.set_num_threads(1)
    run(
        make_steps(),
        list(VolumeReader().find(Path(sys.argv[1]))),
        Path(sys.argv[2]),
        progress=lambda progress: print(progress.case_id, progress.status, flush=True),  # noqa: T201
    )
