"""The errors that the command tells in one line, without a traceback."""

from pathlib import Path
from signal import Signals


def first_line(error: BaseException) -> str:
    """The first line of a message; the kind of error where it has none."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


class UsageError(ValueError):
    """Unusable input or arguments: the message says what, where and what to do, in one line.

    The command prints it on stderr and exits with code 2, without a traceback.
    """


class StoppedError(Exception):
    """A signal ended training, which can go on from a checkpoint.

    Attributes:
        checkpoint: That checkpoint, whole.
        exit_code: What a shell expects of a process that the signal has ended.
    """

    def __init__(self, signal: int, checkpoint: Path) -> None:
        """Say what happened, and how to go on."""
        super().__init__(
            f"stopped by {Signals(signal).name}; {checkpoint} is whole: go on with "
            "resume_from_checkpoint"
        )
        self.checkpoint = checkpoint
        self.exit_code = 128 + signal


class PeerLostError(RuntimeError):
    """Other ranks died or hang, so that this one cannot go on.

    Attributes:
        ranks: Those that did not answer; none if all of them did, and the network is at fault.
    """

    def __init__(self, ranks: list[int], why: str) -> None:
        """Say which, and how to go on."""
        named = f"rank {', '.join(map(str, ranks))}" if ranks else "the connection between ranks"
        first = " ".join(why.splitlines()[:1]).partition(". ")[0] or "no reason given"
        super().__init__(
            f"{named} was lost ({first}): see what it told last, then go on with "
            "resume_from_checkpoint"
        )
        self.ranks = ranks
