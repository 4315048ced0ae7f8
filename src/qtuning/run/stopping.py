"""SIGTERM and Ctrl-C save a checkpoint at the end of the step."""

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
"""A launcher passes a terminal's Ctrl-C on to those who have had it; that is no second one."""


@contextmanager
def stop_on_signals(trainer: Trainer) -> Iterator[None]:
    """Within, SIGTERM and Ctrl-C let ``trainer.train()`` save a checkpoint and stop.

    The step is finished first; an evaluation that was due after it is left out. A signal to one
    rank stops all of them. A second Ctrl-C stops at once, a second SIGTERM does nothing.

    Args:
        trainer: Any trainer; its other options of saving need not be set.

    Raises:
        StoppedError: There was a signal, and the checkpoint is written.
        KeyboardInterrupt: There was a second Ctrl-C.
        ValueError: Not called in the main thread, the only one that may handle signals.
    """
    request = _Request()
    callback = _StopCallback(request, Ranks(trainer.accelerator, trainer.get_tp_size()))
    before = {number: signal.signal(number, request) for number in (signal.SIGTERM, signal.SIGINT)}
    trainer.add_callback(callback)
    try:
        yield
    finally:
        trainer.remove_callback(callback)
        for number, handler in before.items():
            signal.signal(number, handler)


class _Request:
    """The handler of both signals."""

    def __init__(self) -> None:
        self.signal = 0
        self._process = os.getpid()
        self._first = 0.0

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            return  # workers of a data loader inherit the handler, and work on
        now = time.monotonic()
        if not self.signal:
            self.signal, self._first = number, now
            if os.environ.get("LOCAL_RANK", "0") == "0":  # print is not safe in a handler
                os.write(2, b"qtuning: saving a checkpoint at the end of this step\n")
        elif number == signal.SIGINT and now - self._first > _ECHO_SECONDS:
            raise KeyboardInterrupt


class _StopCallback(TrainerCallback):
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
        # Leaving the loop by its own door would delete this checkpoint where save_total_limit is 1
        # and another one is the best.
        if self._signal:
            name = f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}"
            raise StoppedError(self._signal, Path(str(args.output_dir)) / name)
