"""Moments of a run: calls and returns of functions, by phase; one of them may be the last."""

import os
import signal
import sys
from collections import Counter
from types import CodeType, FrameType
from typing import Any

PHASES = {
    "scoring": ("qtuning/signals/", "qtuning/core/stats.py"),
    "selecting": (
        *("qtuning/step/decide.py", "qtuning/core/plane.py", "qtuning/core/tokens.py"),
        "qtuning/pruners/",
    ),
    "training": ("torch/optim/", "accelerate/optimizer.py", "torch/autograd/__init__.py"),
    "checkpoint": (
        *("qtuning/run/saving.py", "qtuning/run/checkpoints.py", "qtuning/run/record.py"),
        *("torch/serialization.py", "safetensors/torch.py", "shutil.py"),
    ),
    "ledger": ("qtuning/run/ledger.py", "qtuning/run/records.py", "pyarrow/parquet/"),
    "between": ("transformers/trainer.py", "transformers/trainer_callback.py", "trl/trainer/"),
}


class Moments:
    """Counts moments by phase, and kills this process at one of them.

    Attributes:
        counts: Moments so far.
    """

    def __init__(self, phase: str = "", last: int = 0) -> None:
        self.counts: Counter[str] = Counter()
        self._phase, self._last = phase, last
        self._phases: dict[CodeType, str] = {}

    def watch(self) -> None:
        """Begin."""
        sys.setprofile(self._seen)

    def _seen(self, frame: FrameType, event: str, argument: Any) -> None:
        if event not in ("call", "return"):
            return
        phase = self._phases.get(frame.f_code)
        if phase is None:
            phase = self._phases[frame.f_code] = _phase_of(frame.f_code.co_filename)
        if not phase:
            return
        self.counts[phase] += 1
        if phase == self._phase and self.counts[phase] == self._last:
            os.kill(os.getpid(), signal.SIGKILL)


def _phase_of(name: str) -> str:
    return next((phase for phase, files in PHASES.items() if any(f in name for f in files)), "")
