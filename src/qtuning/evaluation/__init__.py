"""How good a model is: benchmark tasks, held-out answer NLL and calibration."""

from .harness import Score, run_tasks
from .held_out import HeldOut, held_out

__all__ = ["HeldOut", "Score", "held_out", "run_tasks"]
