"""A run of another program that gets a signal once it has checkpoints."""

import os
import time
from pathlib import Path

from .. import processes


def stopped(command, log: Path, checkpoint: Path, number: int, **how) -> tuple[int, str]:
    """Run a command, and send it a signal once a checkpoint is there.

    Args:
        command: The command.
        log: File for what it says.
        checkpoint: The checkpoint; one after that which must be whole.
        number: The signal.
        **how: Other arguments of ``processes.Forked``.

    Returns:
        Its exit code, and what it said.
    """
    with log.open("w") as file:
        process = processes.Forked(command, stdout=file, **how)
    end = time.monotonic() + processes.WAIT
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    os.kill(process.pid, number)
    return process.wait(), log.read_text()
