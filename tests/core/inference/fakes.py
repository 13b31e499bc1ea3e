"""A tiny field for tests: files of float32 numbers, windows of 64, a network that depends on its row's place.

Run as a program, it predicts a folder and prints each case with its status (for tests that kill it).
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tessera.core.data.atomic import write_atomic
from tessera.core.data.case import Case, FileRef
from tessera.core.data.geometry import Geometry, Pixels, Region
from tessera.core.errors import DataError
from tessera.core.inference.forward import ForwardPass
from tessera.core.inference.interfaces import CaseResult, Written
from tessera.core.inference.ledger import Identity
from tessera.core.inference.runner import run
from tessera.core.inference.steps import Steps
from tessera.core.inference.tiling import window_regions

WINDOW = 64
CLASSES = ("low", "mid", "high")
IDENTITY = Identity(bundle_digest="b" * 64, config_digest="c" * 64, code_version="1.0")
GATE = threading.Event()  # never set while a test runs: what a hanging read waits for


class FileSource:
    """A file of float32 numbers; its name says how it misbehaves."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._path = case.path("data")
        self._length = self._path.stat().st_size // 4

    @property
    def grid(self) -> Pixels:
        return Pixels((self._length,))

    def read(self, region: Region | None = None) -> Any:
        if "readfails" in self._case.id:
            raise OSError(5, "Input/output error")
        if "memory" in self._case.id:
            raise MemoryError
        if "hangs" in self._case.id:
            GATE.wait()
        assert region is not None
        with self._path.open("rb") as file:
            file.seek(4 * region.start[0])
            return np.frombuffer(file.read(4 * region.shape[0]), dtype=np.float32)

    def close(self) -> None:
        return


class FileReader:
    """Finds ``.bin`` files below a folder."""

    def find(self, path: Path) -> Iterable[Case]:
        files = [path] if path.is_file() else sorted(path.rglob("*.bin"))
        return [
            Case(id=file.stem, files={"data": FileRef(path=file)}, group=file.stem[:4], meta={"n": str(i)})
            for i, file in enumerate(files)
        ]

    def open(self, case: Case) -> FileSource:
        if "openfails" in case.id:
            raise DataError("cannot read it", found="7 bytes", expected="a whole file")
        return FileSource(case)


class FakeWindows:
    """Windows of 64, side by side, the last one padded with zeros."""

    input_shape = (1, WINDOW)

    def plan(self, grid: Geometry) -> Sequence[Region]:
        return window_regions(grid.shape, (WINDOW,), (WINDOW,), "pad")

    def draw(self, grid: Geometry, rng: np.random.Generator) -> Region:
        raise NotImplementedError

    def prepare(self, source: Any) -> Any:
        raise NotImplementedError

    def read(self, source: Any, region: Region) -> Any:
        values = source.read(region)
        input = torch.zeros(self.input_shape)
        input[0, : len(values)] = torch.from_numpy(np.array(values))
        return {"input": input, "flags": () if input.any() else ("silent",)}


class OddNetwork(nn.Module):
    """Convolution and sigmoid over a size no vector unit divides, so that last bits depend on the row."""

    def __init__(self, n_outputs: int = 3, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.conv = nn.Conv1d(1, 33, 5)
        self.last = nn.Linear(33 * 15, n_outputs)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
        self.batches: list[int] = []

    def forward(self, input: Tensor) -> Tensor:
        self.batches.append(len(input))
        return self.last(torch.sigmoid(self.conv(input))[..., :60].unfold(-1, 4, 4).mean(-1).flatten(1))


class FakeWriter:
    """A JSON file a case with every bit of the scores, and one table."""

    def __init__(self) -> None:
        self.written: list[str] = []

    def write(self, result: CaseResult, out: Path) -> Written:
        self.written.append(result.case.id)
        if "writefails" in result.case.id:
            raise PermissionError(13, "Permission denied")
        name = f"cases/{result.case.id}.json"
        scores = [[float(value).hex() for value in row] for row in result.scores]
        content = {
            "scores": scores,
            "summary": [float(v).hex() for v in result.summary],
            "flags": result.flags,
        }
        write_atomic(out / name, json.dumps(content))
        row = {
            "case_id": result.case.id,
            "best": CLASSES[int(result.summary.argmax())],
            "p": result.summary[0],
        }
        return Written((name,), {"table": [row]})

    def collect(self, cases: Iterator[tuple[Case, Written]], out: Path) -> tuple[str, ...]:
        lines = [
            ",".join([*map(str, row.values()), case.group]) for case, w in cases for row in w.rows["table"]
        ]
        write_atomic(out / "table.csv", "\n".join(["case_id,best,p,group", *lines]) + "\n")
        return ("table.csv",)


def make_steps(*, batch_size: int = 4, writer: Any = None, **changes: Any) -> Steps:
    """The fake field's steps."""
    forward = ForwardPass([OddNetwork()], task="class", batch_size=batch_size)
    steps = Steps(
        reader=FileReader(),
        windows=FakeWindows(),
        forward=forward,
        writer=writer or FakeWriter(),
        identity=IDENTITY,
    )
    return replace(steps, **changes)


def make_files(folder: Path, *, n: int = 9, seed: int = 0, extra: Sequence[str] = ()) -> list[Case]:
    """Files of 1 to 7 windows with a last window cut short, and ``extra`` ones by name."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    for name in [*(f"case{i:03d}" for i in range(n)), *extra]:
        values = rng.standard_normal(int(rng.integers(1, 7 * WINDOW)), dtype=np.float32)
        if "nan" in name:
            values[-1] = np.nan
        if "huge" in name:
            values[:] = np.float32(3e38)
        if "silent" in name:
            values[:] = 0.0
        if "empty" in name:
            values = values[:0]
        (folder / f"{name}.bin").write_bytes(values.tobytes())
    return list(FileReader().find(folder))


def tree(out: Path) -> dict[str, bytes]:
    """All results of a run, without ledgers and shards."""
    files = sorted(path for path in out.rglob("*") if path.is_file())
    names = {path.relative_to(out).as_posix(): path for path in files}
    return {
        name: path.read_bytes()
        for name, path in names.items()
        if not name.startswith(("ledger.sqlite", "shards/"))
    }


if __name__ == "__main__":
    torch.set_num_threads(1)
    source, target = map(Path, sys.argv[1:])
    run(
        make_steps(),
        list(FileReader().find(source)),
        target,
        progress=lambda progress: print(progress.case_id, progress.status, flush=True),  # noqa: T201
    )
