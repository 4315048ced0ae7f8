"""What ``processes`` has imported before it forks."""

import gc

from qtuning.commands import compare, score, train
from qtuning.compare import cell

from .distributed import every_pruner, worker
from .faults import worker as fault_worker

__all__ = ["cell", "compare", "every_pruner", "fault_worker", "score", "train", "worker"]

gc.collect()
gc.freeze()  # every training run collects garbage, and need not look through all of this
