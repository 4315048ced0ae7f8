"""Forward events of the training loop to the trainer, which has no other public hook for them."""

from typing import Any, Protocol

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class _Listener(Protocol):
    """A trainer that acts on events of its training loop."""

    def _begin(self) -> None: ...

    def _trained(self) -> None: ...

    def _step_ended(self) -> None: ...

    def _ending(self) -> None: ...

    def _ended(self) -> None: ...


class RunCallback(TrainerCallback):
    """Forwards the events of a training loop to one trainer."""

    def __init__(self, trainer: _Listener) -> None:
        """Forward events to ``trainer``."""
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Training begins: the model is prepared, and a checkpoint's state is loaded."""
        self._trainer._begin()

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The gradients of a step are complete."""
        self._trainer._trained()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """The optimizer has updated the weights."""
        self._trainer._step_ended()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Training has ended."""
        self._trainer._ended()


class EndCallback(TrainerCallback):
    """Tells one trainer that training has ended, while the trackers are still open.

    It has to be the first of the trainer's callbacks: trackers close theirs at the same event.
    """

    def __init__(self, trainer: _Listener) -> None:
        """Forward the event to ``trainer``."""
        self._trainer = trainer

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Training has ended, and the trackers are open."""
        self._trainer._ending()
