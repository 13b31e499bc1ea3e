"""Fixed places in the batch: rows of many cases side by side, each always in the same row."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")

_WAITING_BYTES = 256 * 2**20  # most memory that inputs waiting for their place may take
_WAITING_BATCHES = 8  # more waiting than this does not fill batches any better


def slot_of(input_digest: str, index: int, size: int) -> int:
    """The row in which region ``index`` of an input is always computed.

    It follows from the input's content alone, so neither the other cases, nor their order, nor a restart
    can change a result's last bits. Consecutive regions take consecutive rows.
    """
    return (int(input_digest[:8], 16) + index) % size


class Slots(Generic[T]):
    """Items waiting for their row of the batch.

    Args:
        size: Rows of a batch.
        limit: Items waiting at which a batch is due even when some row would stay empty.
    """

    def __init__(self, size: int, limit: int) -> None:
        self._queues: list[deque[T]] = [deque() for _ in range(size)]
        self._limit = limit
        self._waiting = 0
        self._empty = size

    def __len__(self) -> int:
        return self._waiting

    def add(self, slot: int, item: T) -> None:
        """Let an item wait for row ``slot``."""
        self._empty -= not self._queues[slot]
        self._queues[slot].append(item)
        self._waiting += 1

    @property
    def due(self) -> bool:
        """Whether every row has an item, or too many wait."""
        return self._empty == 0 or self._waiting >= self._limit

    def take(self) -> list[T | None]:
        """The next item of each row, ``None`` where none waits."""
        batch = [queue.popleft() if queue else None for queue in self._queues]
        self._waiting = sum(len(queue) for queue in self._queues)
        self._empty = sum(not queue for queue in self._queues)
        return batch


def waiting_limit(size: int, input_shape: Sequence[int]) -> int:
    """How many float32 inputs may wait: up to eight batches within 256 MiB, at least one batch."""
    return max(size, min(_WAITING_BATCHES * size, _WAITING_BYTES // _bytes(input_shape)))


def queue_room(size: int, input_shape: Sequence[int]) -> int:
    """How many float32 inputs are read ahead of that: up to one batch within 256 MiB, at least one input."""
    return max(1, min(size, _WAITING_BYTES // _bytes(input_shape)))


def _bytes(input_shape: Sequence[int]) -> int:
    return 4 * math.prod(max(1, extent) for extent in input_shape)
