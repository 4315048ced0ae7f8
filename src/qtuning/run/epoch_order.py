"""The random state that the order of an epoch's rows is drawn from, kept for resumed runs.

Not every sampler draws by seed and epoch: that of ``group_by_length``, and any of them without
``use_seedable_sampler``, draws from torch's global generator when an epoch begins. The trainer
itself keeps the state at the checkpoint, and would draw another order for the rest of the epoch.
"""

from pathlib import Path
from typing import Any

import torch
from accelerate.data_loader import DataLoaderDispatcher, DataLoaderShard
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from ..errors import UsageError

_GLOBAL, _OWN = "torch", "sampler"


class EpochOrder(TrainerCallback):
    """Notes the random state at the beginning of every epoch, and restores it in a resumed run."""

    def __init__(self, process: int) -> None:
        """Nothing is noted yet.

        Args:
            process: Index of this process, each of which keeps its own state.
        """
        self._name = f"pruning_order_{process}.safetensors"
        self._noted: dict[str, Tensor] = {}
        self._resumes = False
        self._state: TrainerState | None = None
        self._generator: torch.Generator | None = None

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """An epoch begins; its order is drawn right after this."""
        self._state = state
        loader = kwargs["train_dataloader"]
        # A loader of several processes has one that they share, if its sampler draws from it.
        self._generator = vars(loader).get("synchronized_generator")
        if not self._resumes:
            self._noted = self._now()
            return
        self._resumes = False
        torch.set_rng_state(self._noted[_GLOBAL])
        if self._generator is not None and _OWN in self._noted:
            self._generator.set_state(self._noted[_OWN])
        # Before transformers 5.23, the loader that skips the batches trained on tells the epoch to
        # its own batch sampler alone. The one below may keep an order drawn when it was made.
        if isinstance(loader, DataLoaderShard | DataLoaderDispatcher):
            loader.set_epoch(int(state.epoch or 0.0))

    def _now(self) -> dict[str, Tensor]:
        states = {_GLOBAL: torch.get_rng_state()}
        if self._generator is not None:
            states[_OWN] = self._generator.get_state()
        return states

    def save(self, checkpoint: Path) -> None:
        """Write the state that the epoch going on began with, or the next one begins with."""
        if self._state is not None and float(self._state.epoch or 0.0).is_integer():
            self._noted = self._now()
        checkpoint.mkdir(parents=True, exist_ok=True)  # other processes may be first
        save_file(self._noted, checkpoint / self._name)

    def load(self, checkpoint: Path) -> None:
        """Read what ``save`` wrote, if it did; the next epoch to begin begins with that state.

        Raises:
            UsageError: The file cannot be read.
        """
        path = checkpoint / self._name
        if not path.is_file():  # of an older version, or of a run of fewer processes
            return
        try:
            self._noted = load_file(path)
        except (OSError, SafetensorError) as error:
            raise UsageError(
                f"cannot read {path}: {error}; resume from another checkpoint"
            ) from error
        if _GLOBAL not in self._noted:
            raise UsageError(f"{path} has no random state: resume from another checkpoint")
        self._resumes = True
