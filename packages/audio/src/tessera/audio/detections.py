"""From scores of windows to detections: smoothing, two thresholds, merging; one pass, bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, order=True)
class Detection:
    """One sound found, in samples of the recording; the stop is exclusive.

    Args:
        start_sample: Where its first window starts.
        stop_sample: Where its last window ends.
        label: Number of the class.
        score: Highest score after smoothing.
    """

    start_sample: int
    stop_sample: int
    label: int
    score: float


@dataclass(frozen=True, kw_only=True)
class DetectionRule:
    """When scores of K classes are a detection.

    Windows next to each other whose smoothed scores all reach ``off`` are a detection when one of them
    reaches ``on``. Detections of a class with at most ``max_gap_samples`` between them become one, always
    when their windows overlap; then those shorter than ``min_samples`` are dropped.

    Args:
        on: One threshold a class (K,).
        off: One threshold a class (K,), not above ``on``.
        smooth: Odd number of windows that a score is smoothed over; at the ends those that are there.
        smoothing: Their mean or their maximum.
        min_samples: Shortest detection.
        max_gap_samples: Longest gap that is closed.
    """

    on: Floats
    off: Floats
    smooth: int = 1
    smoothing: Literal["mean", "max"] = "mean"
    min_samples: int = 0
    max_gap_samples: int = 0

    def __post_init__(self) -> None:
        if self.on.shape != self.off.shape or self.on.ndim != 1 or (self.off > self.on).any():
            raise ValueError(f"thresholds on {self.on.tolist()} and off {self.off.tolist()} do not fit")
        if self.smooth < 1 or self.smooth % 2 == 0 or min(self.min_samples, self.max_gap_samples) < 0:
            raise ValueError(
                f"smooth {self.smooth} must be odd, min_samples {self.min_samples} and max_gap_samples "
                f"{self.max_gap_samples} not negative"
            )


class DetectionStream:
    """Takes windows in order and gives each detection as soon as nothing can change it any more.

    It remembers ``smooth`` windows and at most two stretches of time a class, however long the recording.
    """

    def __init__(self, rule: DetectionRule) -> None:
        self.rule = rule
        self._recent: deque[tuple[int, int, Floats]] = deque(maxlen=rule.smooth)
        self._seen = 0
        self._open: dict[int, Detection] = {}  # every window so far reaches off
        self._closed: dict[int, Detection] = {}  # ended, and may be joined by the next

    def add(self, start: int, stop: int, scores: npt.ArrayLike) -> list[Detection]:
        """Take the window of samples [start, stop) with its scores (K,)."""
        row = np.asarray(scores, dtype=np.float64)
        if row.shape != self.rule.on.shape:
            raise ValueError(f"{row.shape} scores for {self.rule.on.shape} thresholds")
        if stop < start or (self._recent and (start < self._recent[-1][0] or stop < self._recent[-1][1])):
            raise ValueError(f"window {start} to {stop} is out of order")
        self._recent.append((start, stop, row))
        self._seen += 1
        half = self.rule.smooth // 2
        return self._step(len(self._recent) - 1 - half) if self._seen > half else []

    def finish(self) -> list[Detection]:
        """The recording has ended: what is still open."""
        found = []
        for back in range(min(self.rule.smooth // 2, self._seen), 0, -1):
            found += self._step(len(self._recent) - back)
        for label in sorted(self._open):
            found += self._close(label)
        found += self._long_enough(self._closed.values())
        self._recent.clear()
        self._seen = 0
        self._open.clear()
        self._closed.clear()
        return found

    def _step(self, centre: int) -> list[Detection]:
        """Decide on the window at that place in the memory, whose neighbours are all there."""
        start, stop, _ = self._recent[centre]
        first = max(0, centre - self.rule.smooth // 2)
        near = np.stack([row for _, _, row in list(self._recent)[first:]])
        smoothed = near.mean(axis=0) if self.rule.smoothing == "mean" else near.max(axis=0)
        active = smoothed >= self.rule.off
        found = []
        for label in [label for label in self._open if not active[label]]:
            found += self._close(label)
        for label in np.flatnonzero(active).tolist():
            score = float(smoothed[label])
            run = self._open.get(label) or Detection(start, stop, label, score)
            self._open[label] = replace(run, stop_sample=stop, score=max(run.score, score))
        return found + self._past_joining(start)

    def _close(self, label: int) -> list[Detection]:
        """End a stretch; gives the one before it when the two stay apart."""
        run = self._open.pop(label)
        if run.score < self.rule.on[label]:
            return []
        before = self._closed.get(label)
        if before is None or run.start_sample - before.stop_sample > self.rule.max_gap_samples:
            self._closed[label] = run
            return [] if before is None else self._long_enough([before])
        self._closed[label] = replace(before, stop_sample=run.stop_sample, score=max(before.score, run.score))
        return []

    def _past_joining(self, start: int) -> list[Detection]:
        """Those that no window from ``start`` on, nor an open stretch, can join."""
        over = [
            label
            for label, before in self._closed.items()
            if label not in self._open and start - before.stop_sample > self.rule.max_gap_samples
        ]
        return self._long_enough([self._closed.pop(label) for label in over])

    def _long_enough(self, ended: Iterable[Detection]) -> list[Detection]:
        return [one for one in ended if one.stop_sample - one.start_sample >= self.rule.min_samples]


def detect(rule: DetectionRule, windows: Iterable[tuple[int, int, npt.ArrayLike]]) -> list[Detection]:
    """All detections of a recording's windows (start, stop, scores), sorted by time."""
    stream = DetectionStream(rule)
    found = [one for start, stop, scores in windows for one in stream.add(start, stop, scores)]
    return sorted(found + stream.finish())
