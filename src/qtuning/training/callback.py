"""Tells the trainer where the training loop is, which has no other public hook for it."""

from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Told(Protocol):
    """Who wants to know."""

    def _begin(self) -> None: ...

    def _trained(self) -> None: ...

    def _step_ended(self) -> None: ...

    def _ended(self) -> None: ...


class RunCallback(TrainerCallback):
    """Tells one trainer."""

    def __init__(self, trainer: Told) -> None:
        """Take the trainer."""
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The model is prepared and the state is that of the checkpoint."""
        self._trainer._begin()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The gradients are there."""
        self._trainer._trained()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The weights have changed."""
        self._trainer._step_ended()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """No step is left."""
        self._trainer._ended()
