"""One case through the steps in this thread, without a folder, a ledger or reading ahead."""

from __future__ import annotations

from tessera.core.data.case import Case
from tessera.core.data.hashing import InputHasher
from tessera.core.errors import DataError
from tessera.core.inference.interfaces import CaseResult, Stitcher
from tessera.core.inference.reading import Job, Message, Opened, Window, read_case
from tessera.core.inference.slots import Slots, slot_of
from tessera.core.inference.steps import Steps


def result_of(steps: Steps, case: Case) -> CaseResult:
    """One case's result, equal to the last bit to that of a run over many cases."""
    job, size = Job(case), steps.forward.batch_size
    slots: Slots[Window] = Slots(size, limit=size)
    stitchers: list[Stitcher] = []

    def take(message: Message) -> None:
        if isinstance(message, Opened):
            if not message.regions:
                raise DataError(
                    f"case {case.id}: there is nothing to predict in it",
                    found=f"a grid of {message.grid.shape}",
                )
            stitchers.append(steps.stitcher(message))
        elif isinstance(message, Window):
            slots.add(slot_of(job.input_hash, message.index, size), message)
            if slots.due:
                compute()

    def compute() -> None:
        batch = slots.take()
        raw = steps.forward.batch([None if window is None else window.input for window in batch])
        found = [(window.index, place) for place, window in enumerate(batch) if window is not None]
        for index, place in sorted(found):
            stitchers[0].add(index, raw[place])

    read_case(job, steps.reader, steps.windows, InputHasher(), take, plan=steps.plan)
    while slots:
        compute()
    return stitchers[0].finish()
