"""Save a checkpoint and stop on SIGTERM or Ctrl-C, at the end of the step."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from transformers import Trainer, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from ..errors import StoppedError
from ..ranks import Ranks

_ECHO_SECONDS = 1.0
"""A launcher forwards Ctrl-C to processes that have received it from the terminal already.

A signal within this time after the first one is taken for that echo."""


@contextmanager
def stop_on_signals(trainer: Trainer) -> Iterator[None]:
    """Make ``trainer.train()`` within save a checkpoint and stop on SIGTERM or Ctrl-C.

    The step is finished first; an evaluation due after that step is skipped. A signal to one rank
    stops all ranks. A second Ctrl-C stops at once, and a second SIGTERM does nothing.

    Args:
        trainer: Any trainer; its options of saving need not be set.

    Raises:
        StoppedError: A signal came, and the checkpoint is written.
        KeyboardInterrupt: A second Ctrl-C came.
        ValueError: The caller is not the main thread, the only one that may handle signals.
    """
    request = _Request()
    callback = _StopCallback(request, Ranks(trainer.accelerator, trainer.get_tp_size()))
    handlers = {
        number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)
    }
    trainer.add_callback(callback)
    try:
        yield
    finally:
        trainer.remove_callback(callback)
        for number, handler in handlers.items():
            signal.signal(number, handler)


class _Request:
    """The handler of SIGTERM and SIGINT; remembers the first signal."""

    def __init__(self) -> None:
        self.signal = 0
        self._process = os.getpid()
        self._first = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # workers of a data loader inherit the handler, and must continue
        now = time.monotonic()
        if not self.signal:
            self.signal, self._first = number, now
            if os.environ.get("LOCAL_RANK", "0") == "0":  # print is not safe in a handler
                os.write(2, b"qtuning: saving a checkpoint at the end of this step\n")
        elif number == signal.SIGINT and now - self._first > _ECHO_SECONDS:
            raise KeyboardInterrupt


class _StopCallback(TrainerCallback):
    """Saves a checkpoint after the step in which a signal came, then raises StoppedError."""

    def __init__(self, request: _Request, ranks: Ranks) -> None:
        self._request = request
        self._ranks = ranks
        self._signal = 0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self._signal = max(self._ranks.of_every_process(self._request.signal))
        if self._signal:
            control.should_save, control.should_evaluate = True, False

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        # control.should_training_stop would let the trainer delete this checkpoint at the end,
        # where save_total_limit is 1 and another checkpoint is the best.
        if self._signal:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            raise StoppedError(self._signal, Path(str(args.output_dir)) / name)
