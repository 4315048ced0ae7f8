"""How often a step waits for the GPU: synchronisations, by trainer and place in the code."""

import sys
import time
import warnings
from collections import Counter
from contextlib import ExitStack
from types import FrameType
from typing import Any

import torch
from gpu_steps import Q125, RANDOM, STOCK, candidates
from gpu_subjects import Place, build, rows, trainer_of
from torch.profiler import ProfilerActivity
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import TrainerCallback

WAYS: dict[str, dict[str, Any] | None] = {
    STOCK: None,
    "q-tuning 12.5% x 50%": Q125,
    "random 12.5% x 50%": {**Q125, **RANDOM},
}
WARM, COUNTED = 1, 2
SAID = "called a synchronizing"
# On the CPU: operators whose result or shape the host must know.
WAITING = ("aten._local_scalar_dense", "aten.nonzero", "aten.masked_select", "aten.equal")
OURS = "qtuning"
MARKS = (
    (OURS, "/qtuning/signals/"),
    (OURS, "/qtuning/step/"),
    ("trl", "/trl/"),
    ("transformers", "/transformers/"),
    ("accelerate", "/accelerate/"),
)
"""Who waits: what its files have in their paths; the first that is on the stack."""
MODEL = "1.7B"


class Operators(TorchDispatchMode):
    """Counts operators that would wait for a GPU."""

    def __init__(self, counts: Counter[str]) -> None:
        """Count into a counter, by place."""
        super().__init__()
        self._counts = counts

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Count, and compute."""
        waits = str(func).startswith(WAITING)
        if str(func).startswith(("aten.index.Tensor", "aten.index_put")):
            waits = any(i is not None and i.dtype in (torch.bool, torch.uint8) for i in args[1])
        if waits:
            self._counts[_place()] += 1
        return func(*args, **(kwargs or {}))


class Window(TrainerCallback):
    """Counts from the end of a warm step on, over ``COUNTED`` steps."""

    def __init__(self, place: Place) -> None:
        """Count nothing yet."""
        self.place, self.counts, self.steps = place, Counter[str](), 0
        self._open = ExitStack()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Open or close the window."""
        if state.global_step == WARM:
            self._enter()
        elif state.global_step > WARM:
            self.steps += 1
        if self.steps == COUNTED:
            self.close()
            control.should_training_stop = True

    def close(self) -> None:
        """Count no more."""
        self._open.close()

    def _enter(self) -> None:
        if not self.place.cuda:
            self._open.enter_context(Operators(self.counts))
            return
        self._open.enter_context(warnings.catch_warnings())
        warnings.simplefilter("always")
        warnings.showwarning = self._show  # catch_warnings puts the old one back
        before = torch.cuda.get_sync_debug_mode()
        torch.cuda.set_sync_debug_mode("warn")
        self._open.callback(torch.cuda.set_sync_debug_mode, before)

    def _show(self, message: Any, *where: Any, **more: Any) -> None:
        if SAID in str(message):
            self.counts[_place()] += 1


def measure(place: Place, way: str) -> dict[str, Any]:
    """Count the waits of a way to train: all in a step, and those in our scoring and selection."""
    trainer, window = _trainer(place, way), Window(place)
    trainer.add_callback(window)
    try:
        trainer.train()
    finally:
        window.close()
    n = max(1, window.steps)
    ours = sum(count for where, count in window.counts.items() if where.startswith(OURS))
    return {
        "way": way,
        "a_step": sum(window.counts.values()) / n,
        "in_scoring_and_selection": ours / n,
        "where": {where: count / n for where, count in window.counts.most_common(20)},
    }


def _trainer(place: Place, way: str) -> Any:
    model = build(place, MODEL, torch.bfloat16 if place.cuda else torch.float32)
    data = rows(place, MODEL, "lima", candidates(place) * (WARM + COUNTED + 1), 0)
    return trainer_of(place, model, data, WAYS[way])


def _place() -> str:
    """The innermost line of ours that scores or selects, else of a trainer, that is at work."""
    lines: list[tuple[str, int]] = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        lines.append((frame.f_code.co_filename, frame.f_lineno))
        frame = frame.f_back
    for owner, mark in MARKS:
        for file, number in lines:
            if mark in file:
                return f"{owner} {'/'.join(file.split('/')[-2:])}:{number}"
    return "elsewhere"


def profiled(place: Place, way: str) -> dict[str, Any]:
    """Tell how long the GPU is busy in a step, and which calls of CUDA wait for it.

    Calls that wait on purpose, which torch's own count leaves out, are among them.
    """
    trainer, watch = _trainer(place, way), Profiled(WARM + COUNTED)
    trainer.add_callback(watch)
    trainer.train()
    return {"way": way, **watch.found}


class Profiled(TrainerCallback):
    """Profiles the GPU over the step after a given one, and ends the run."""

    def __init__(self, after: int) -> None:
        """After which step."""
        self.after, self.found = after, dict[str, Any]()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin, or end and read."""
        if state.global_step == self.after:
            torch.cuda.synchronize()
            self._profile = torch.profiler.profile(activities=[ProfilerActivity.CUDA])
            self._profile.start()
            self._began = time.perf_counter()
        elif state.global_step > self.after:
            torch.cuda.synchronize()
            seconds = time.perf_counter() - self._began
            self._profile.stop()
            self.found = _read(self._profile, seconds)
            control.should_training_stop = True


def _read(profile: Any, seconds: float) -> dict[str, Any]:
    spans, calls = [], Counter[str]()
    for event in profile.profiler.kineto_results.events():
        if str(event.device_type()).endswith("CUDA"):
            spans.append((event.start_ns(), event.start_ns() + event.duration_ns()))
        elif "Synchronize" in event.name() or event.name() == "cudaMemcpy":
            calls[event.name()] += 1
    busy, until = 0, 0
    for start, end in sorted(spans):
        busy += max(0, end - max(start, until))
        until = max(until, end)
    return {"seconds": seconds, "busy": busy / 1e9 / seconds, "calls": dict(calls)}
