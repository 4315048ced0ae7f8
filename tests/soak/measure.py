"""What a process holds, step by step, and the straight line through it."""

import gc
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from transformers import TrainerCallback


class Sample(NamedTuple):
    """What the process held after a step.

    Attributes:
        step: Number of the optimizer step.
        memory: Resident bytes.
        handles: Open file descriptors.
        threads: Threads.
        ledger: Bytes of the ledger on disk.
        rows: Rows that the trainer's own history has, which grows by design.
    """

    step: int
    memory: int
    handles: int
    threads: int
    ledger: int
    rows: int


class Line(NamedTuple):
    """A least-squares line."""

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
            self.samples.append(take(state.global_step, self.folder, len(state.log_history)))


def take(step: int, folder: Path, rows: int) -> Sample:
    """A sample of this process and of the ledger below an output folder."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    ledger = sum(file.stat().st_size for file in (folder / "ledger").glob("*.parquet"))
    memory = pages * os.sysconf("SC_PAGE_SIZE")
    handles = _entries("fd")
    return Sample(step, memory, handles, _entries("task"), ledger, rows)


def _entries(what: str) -> int:
    return sum(1 for _ in Path("/proc/self", what).iterdir())


def line(x: Sequence[float], y: Sequence[float]) -> Line:
    """The straight line through some points, at least two of different x."""
    n = len(x)
    mean_x, mean_y = sum(x) / n, sum(y) / n
    spread = sum((a - mean_x) ** 2 for a in x)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    start = mean_y - slope * mean_x
    last = abs(start + slope * x[-1]) or 1.0
    worst = max(abs(b - start - slope * a) for a, b in zip(x, y, strict=True))
    return Line(slope, start, worst / last)
