"""What a process holds, step by step, and the straight line through it."""

import gc
import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from scipy.stats import theilslopes
from transformers import TrainerCallback


class Sample(NamedTuple):
    """What the process held after a step.

    Attributes:
        step: Number of the optimizer step.
        memory: Resident bytes.
        handles: Open file descriptors.
        threads: Threads.
        ledger: Bytes of the ledger on disk.
    """

    step: int
    memory: int
    handles: int
    threads: int
    ledger: int


class Line(NamedTuple):
    """A straight line through points."""

    slope: float
    start: float
    worst: float
    """Largest distance of a point from the line, as a share of the last value on it."""


class Watch(TrainerCallback):
    """Takes a sample every so many steps."""

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.samples: list[Sample] = []

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step % self.every == 0:
            gc.collect()  # what only waits to be collected is no leak
            self.samples.append(take(state.global_step, self.folder))


def take(step: int, folder: Path) -> Sample:
    """A sample of this process and of the ledger below an output folder."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    ledger = sum(file.stat().st_size for file in (folder / "ledger").glob("*.parquet"))
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    handles = _entries("fd")
    return Sample(step, memory, handles, _entries("task"), ledger)


def _entries(what: str) -> int:
    return sum(1 for _ in Path("/proc/self", what).iterdir())


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The straight line through at least two points: Theil's, the median of all slopes.

    One that is not moved by a single step up, which an allocator makes, as least squares are.
    """
    found = theilslopes(y, x, method="joint")
    slope, start = float(found.slope), float(found.intercept)
    last = abs(start + slope * x[-1]) or 1.0
    worst = max(abs(b - start - slope * a) for a, b in zip(x, y, strict=True))
    return Line(slope, start, worst / last)


def grown(samples: Sequence[Sample]) -> list[Sample]:
    """The samples after which the ledger had grown: it is written some hundred steps at a time."""
    return [b for a, b in pairwise(samples) if b.ledger > a.ledger]
