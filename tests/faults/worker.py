"""What the ranks of the tests do."""

import os
import signal
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

import qtuning
from qtuning import cli
from qtuning import train as command

from .. import runs, tiny


class Signal(TrainerCallback):
    """Sends a signal to one rank in the middle of a step."""

    def __init__(self, number: int, rank: int, step: int) -> None:
        self.number, self.rank, self.step = number, rank, step

    def on_pre_optimizer_step(self, args, state, control, **kwargs) -> None:
        if args.process_index == self.rank and state.global_step + 1 == self.step:
            os.kill(os.getpid(), self.number)


def trainer(folder: Path, **settings: Any) -> qtuning.QTuningTrainer:
    """A run of six steps."""
    data = tiny.dataset(settings.pop("rows", 24))
    return runs.pruning(
        folder, data=data, **{"save_strategy": "steps", "save_steps": 1, **settings}
    )


def train(folder: Path, settings: dict[str, Any], resume: bool, number: int, *where: int) -> None:
    """Train within the command's own error handling; what was told goes to a file a rank."""
    log = os.open(folder / f"told-{os.environ.get('RANK', '0')}.txt", os.O_WRONLY | os.O_CREAT)
    os.dup2(log, 2)

    def run(_: list[str]) -> None:
        made = trainer(folder, **settings)
        if number:
            made.add_callback(Signal(signal.Signals(number), *where))
        with qtuning.stop_on_signals(made):
            made.train(resume_from_checkpoint=resume)
        made.save_model()
        made.accelerator.end_training()

    command.run = run  # the command's own model and data are beside the point
    sys.exit(cli.main(["train"]))
