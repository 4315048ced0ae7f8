"""What the ranks of the tests do."""

import json
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch.distributed import init_process_group
from transformers import TrainerCallback

import qtuning
from qtuning.commands import main as cli
from qtuning.commands import train as command

from .. import runs, tiny
from .moments import Moments


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
    if timeout := settings.pop("timeout", None):  # transformers passes ddp_timeout on only to GPUs
        init_process_group("gloo", timeout=timedelta(seconds=timeout))

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


def train_watched(
    folder: Path, settings: dict[str, Any], resume: bool, last: dict[str, Any]
) -> None:
    """Train, counting the moments of a run, or until one of them is the last."""
    rank = int(os.environ.get("RANK", "0"))
    log = os.open(folder / f"told-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(log, 1)
    os.dup2(log, 2)
    made = trainer(folder, **settings)
    mine = last.get("rank") == rank
    moments = Moments(last["phase"], last["moment"]) if mine else Moments()
    moments.watch()
    made.train(resume_from_checkpoint=resume)
    sys.setprofile(None)
    made.save_model()
    made.accelerator.end_training()
    if rank == 0:
        (folder / "moments.json").write_text(json.dumps(moments.counts))
