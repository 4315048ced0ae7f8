"""What ``processes`` has imported before it forks."""

from qtuning.commands import compare, score, train
from qtuning.compare import process

from . import quick
from .distributed import every_pruner, worker
from .faults import worker as fault_worker

__all__ = ["compare", "every_pruner", "fault_worker", "process", "score", "train", "worker"]

quick.ask_once_for_packages()
quick.settle()
