"""From cases to batches: regions drawn or planned, an order that is a function of (seed, epoch), resumable.

Nothing here draws from ambient random state, so the number of workers changes nothing but the speed.
"""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from tessera.core.data.case import Case, Source
from tessera.core.data.collate import collate
from tessera.core.data.geometry import Region
from tessera.core.data.mask_cache import MaskedSource
from tessera.core.data.sample import Batch, Sample
from tessera.core.data.windows import MaskWindows, Windows
from tessera.core.errors import DataError, TesseraError

OpenSource = Callable[[Case], Source]

# What a damaged file makes readers raise besides our own errors.
_READ_ERRORS = (OSError, ValueError, EOFError, RuntimeError)


class SampleKey(NamedTuple):
    """Names one sample; everything random about it follows from these numbers.

    Args:
        epoch: Epoch, from 0.
        place: Place in the list of cases (training) or of planned regions.
        repeat: How often the place came before in this epoch.
        weight: Weight of the row; 0 marks one that only fills a batch.
    """

    epoch: int
    place: int
    repeat: int = 0
    weight: float = 1.0


class RegionDataset(Dataset[Sample | TesseraError]):
    """Regions of cases as samples; subclasses say which region a key means.

    A case that cannot be read gives the error as a value, so that it crosses from a worker unchanged;
    the loader raises it.

    Args:
        cases: The cases.
        open_source: Opens a case, with its mask where the target is one; must be picklable for workers.
        windows: Cuts a source into inputs.
        targets: Case id to encoded target; empty when there is none, and for masks.
    """

    def __init__(
        self,
        cases: Sequence[Case],
        *,
        open_source: OpenSource,
        windows: Windows,
        targets: Mapping[str, npt.NDArray[Any]],
    ) -> None:
        self.cases = tuple(cases)
        self.open_source = open_source
        self.windows = windows
        self.targets = dict(targets)

    def __getitem__(self, key: SampleKey) -> Sample | TesseraError:
        """The sample of that key, or what is wrong with its case."""
        case, region = self._place(key)
        try:
            return self._read(case, region, key)
        except TesseraError as error:
            return _name_case(case, error)
        except _READ_ERRORS as error:
            return _name_case(case, DataError(f"{type(error).__name__}: {error}"))

    def _place(self, key: SampleKey) -> tuple[Case, Region | None]:
        raise NotImplementedError

    def _draw(self, source: Source, key: SampleKey) -> Region:
        raise NotImplementedError

    def _read(self, case: Case, region: Region | None, key: SampleKey) -> Sample:
        source = self.open_source(case)
        try:
            region = self._draw(source, key) if region is None else region
            sample = self.windows.read(source, region)
        finally:
            source.close()
        sample["case_id"] = case.id
        sample["region"] = region
        sample["weight"] = key.weight
        if isinstance(source, MaskedSource):
            sample["target"] = self.windows.read(source.classes, region)["input"][0].long()
        elif case.id in self.targets:
            sample["target"] = torch.as_tensor(self.targets[case.id])
        return sample


class DrawnRegions(RegionDataset):
    """Regions of a case an epoch, each drawn from a generator seeded by (seed, epoch, place, repeat).

    Args:
        cases: The cases.
        seed: The run's.
        per_case: Regions a case and epoch; region i of case c has place ``c * per_case + i``.
        foreground: Share of the regions of masks that are drawn to hold an element of the foreground.
        parts: Those of ``RegionDataset``.
    """

    def __init__(
        self, cases: Sequence[Case], *, seed: int, per_case: int = 1, foreground: float = 0.0, **parts: Any
    ) -> None:
        super().__init__(cases, **parts)
        self.seed = seed
        self.per_case = per_case
        self.foreground = foreground

    def __len__(self) -> int:
        return len(self.cases) * self.per_case

    def _place(self, key: SampleKey) -> tuple[Case, Region | None]:
        return self.cases[key.place // self.per_case], None

    def _draw(self, source: Source, key: SampleKey) -> Region:
        rng = np.random.default_rng([self.seed, key.epoch, key.place, key.repeat])
        if isinstance(source, MaskedSource) and rng.random() < self.foreground:
            place = source.mask.draw_place(rng)
            if place is not None:
                return cast(MaskWindows, self.windows).draw_at(source.grid, place, rng)
        return self.windows.draw(source.grid, rng)


class PlannedRegions(RegionDataset):
    """Every planned region of every case, in order; opens each case once to plan."""

    def __init__(self, cases: Sequence[Case], **parts: Any) -> None:
        super().__init__(cases, **parts)
        self.places = [(case, region) for case in self.cases for region in self._plan(case)]

    def __len__(self) -> int:
        return len(self.places)

    def _plan(self, case: Case) -> Sequence[Region]:
        source = open_named(self.open_source, case)
        try:
            return self.windows.plan(source.grid)
        finally:
            source.close()

    def _place(self, key: SampleKey) -> tuple[Case, Region | None]:
        return self.places[key.place]


def open_named(open_source: OpenSource, case: Case) -> Source:
    """Open a case; whatever is wrong with it becomes a ``DataError`` that names it."""
    try:
        return open_source(case)
    except TesseraError as error:
        raise _name_case(case, error) from error
    except _READ_ERRORS as error:
        raise _name_case(case, DataError(f"{type(error).__name__}: {error}")) from error


def _name_case(case: Case, error: TesseraError) -> TesseraError:
    return DataError(
        f"case {case.id}: {error.problem}",
        found=error.found,
        expected=error.expected,
        hint=error.hint or "repair the file, or take the case out of the manifest",
    )


class EpochBatches(Sampler[list[SampleKey]]):
    """Batches of an epoch; all ranks share one global order and get the same number of batches.

    Sizes differ by at most one row, so that no epoch ends in a batch of one. Where the samples do not
    divide among the ranks, rows of weight 0 fill up.

    Args:
        n: Number of samples.
        batch_size: Largest number of rows a rank and batch.
        seed: With the epoch, all that the order depends on; ``None`` keeps the samples' own order.
        odds: (n,) relative odds; given, each epoch draws n samples with replacement.
        rank: This process.
        world_size: Number of processes.
    """

    def __init__(
        self,
        n: int,
        *,
        batch_size: int,
        seed: int | None,
        odds: npt.NDArray[np.float64] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if n < 1:
            raise DataError(
                "there is nothing to load", found="0 cases", hint="look at splits.csv and the target's name"
            )
        self.n = n
        self.batch_size = batch_size
        self.seed = seed
        self.odds = None if odds is None else odds / odds.sum()
        self.rank = rank
        self.world_size = world_size
        self.epoch = 0
        self.first = 0

    def start_at(self, epoch: int, first: int) -> None:
        """Begin the next iteration in that epoch, at that batch."""
        self.epoch = epoch
        self.first = first

    def __len__(self) -> int:
        return (self._rows() + self.batch_size - 1) // self.batch_size

    def _rows(self) -> int:
        return (self.n + self.world_size - 1) // self.world_size

    def order(self, epoch: int) -> npt.NDArray[np.int64]:
        """The samples (n,) of an epoch, before they are dealt to the ranks."""
        if self.seed is None:
            return np.arange(self.n)
        rng = np.random.default_rng([self.seed, epoch])
        if self.odds is not None:
            return rng.choice(self.n, size=self.n, p=self.odds)
        return rng.permutation(self.n)

    def keys(self, epoch: int) -> list[SampleKey]:
        """This rank's samples of an epoch, in order."""
        seen: dict[int, int] = {}
        keys = []
        for index in self.order(epoch).tolist():
            keys.append(SampleKey(epoch, index, seen.get(index, 0)))
            seen[index] = keys[-1].repeat + 1
        missing = self._rows() * self.world_size - self.n
        keys += [keys[place % self.n]._replace(weight=0.0) for place in range(missing)]
        return keys[self.rank :: self.world_size]

    def __iter__(self) -> Iterator[list[SampleKey]]:
        keys = self.keys(self.epoch)
        edges = np.linspace(0, len(keys), len(self) + 1).round().astype(int).tolist()
        for batch in range(self.first, len(self)):
            yield keys[edges[batch] : edges[batch + 1]]


class ResumableLoader:
    """Batches epoch after epoch; its position goes into the checkpoint.

    Each iteration gives the rest of the current epoch and the next one starts the next epoch. The
    position counts the batches handed out, whatever the workers have read ahead.

    Args:
        dataset: Gives samples by key.
        batches: The order.
        workers: Loader processes; 0 loads in this one.
        pin: Page-locked memory, for copies to a GPU.
    """

    def __init__(
        self, dataset: RegionDataset, batches: EpochBatches, *, workers: int = 0, pin: bool = False
    ) -> None:
        self.batches = batches
        self.epoch = 0
        self.batch = 0
        self._loader: DataLoader[Any] = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=workers,
            collate_fn=_collate_or_error,
            pin_memory=pin,
            persistent_workers=workers > 0,
            multiprocessing_context=_start_method() if workers else None,
            generator=torch.Generator(),  # the loader draws a seed for its workers; not from ambient state
        )

    def __len__(self) -> int:
        """Batches of a whole epoch, wherever this one was entered."""
        return len(self.batches)

    @property
    def handed_out(self) -> int:
        """Batches handed out since the start of training."""
        return self.epoch * len(self) + self.batch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch."""
        self.epoch, self.batch = epoch, 0

    def state_dict(self) -> dict[str, int]:
        """The position of the next batch."""
        epoch, batch = divmod(self.handed_out, len(self))
        return {"epoch": epoch, "batch": batch}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Go on from a saved position; the batches before it are not loaded."""
        self.epoch, self.batch = int(state["epoch"]), int(state["batch"])

    def __iter__(self) -> Iterator[Batch]:
        if self.batch >= len(self):
            self.set_epoch(self.epoch + 1)
        self.batches.start_at(self.epoch, self.batch)
        for batch in self._loader:
            if isinstance(batch, TesseraError):
                raise batch
            self.batch += 1
            yield batch

    def close(self) -> None:
        """Stop the worker processes."""
        iterator, self._loader._iterator = self._loader._iterator, None
        if iterator is not None and hasattr(iterator, "_shutdown_workers"):
            iterator._shutdown_workers()


def _collate_or_error(samples: Sequence[Sample | TesseraError]) -> Batch | TesseraError:
    for sample in samples:
        if isinstance(sample, TesseraError):
            return sample
    return collate([sample for sample in samples if not isinstance(sample, TesseraError)])


def _start_method() -> Any:
    """Never fork: threads and CUDA do not survive it. The fork server loads torch once for all workers."""
    if sys.platform != "linux":
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tessera.core.data.loaders"])
    return context
