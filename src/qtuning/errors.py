"""Errors that the command prints in one line, without a traceback."""

import os
import sys
from pathlib import Path
from signal import Signals

_LONGEST = 900  # characters of a message on stderr


def print_error(error: object) -> None:
    """Print a message as one line on stderr, on the first rank of a machine only."""
    if os.environ.get("LOCAL_RANK", "0") == "0":
        print(f"qtuning: {_one_line(str(error))}", file=sys.stderr)


def _one_line(message: str) -> str:
    """Make a message one printable line: it may quote names and data from untrusted files."""
    words = " ".join(message.split())
    words = words if len(words) <= _LONGEST else f"{words[: _LONGEST - 1]}…"
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in words)


def first_line(error: BaseException) -> str:
    """First line of an error's message; the name of its type where the message is empty."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class UsageError(ValueError):
    """Unusable input or arguments: the message says what, where and what to do, in one line.

    The command prints it on stderr and exits with code 2, without a traceback.
    """


class StoppedError(Exception):
    """A signal ended training, which can be resumed from a checkpoint.

    Attributes:
        checkpoint: Folder of the complete checkpoint to resume from.
        exit_code: 128 plus the signal's number, which a shell expects of a process ended by it.
    """

    def __init__(self, signal: int, checkpoint: Path) -> None:
        """Write a message that names the signal and says how to resume."""
        super().__init__(
            f"stopped by {Signals(signal).name}; {checkpoint} is whole: go on with "
            "resume_from_checkpoint"
        )
        self.checkpoint = checkpoint
        self.exit_code = 128 + signal


class PeerLostError(RuntimeError):
    """Other ranks died or hang, so that this rank cannot go on.

    Attributes:
        ranks: The ranks that did not answer; empty if all did, and the network is at fault.
    """

    def __init__(self, ranks: list[int], why: str) -> None:
        """Write a message that names the ranks and says how to resume."""
        peers = f"rank {', '.join(map(str, ranks))}" if ranks else "the connection between ranks"
        reason = " ".join(why.splitlines()[:1]).partition(". ")[0] or "no reason given"
        super().__init__(
            f"{peers} was lost ({reason}): see what it told last, then go on with "
            "resume_from_checkpoint"
        )
        self.ranks = ranks
