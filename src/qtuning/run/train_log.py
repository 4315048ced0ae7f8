"""The losses that a run logged, from the state that transformers saves with its checkpoints."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..io.json_files import read_object
from .checkpoints import TRAINER_STATE, is_unfinished, newest_first

_KEPT_TOKENS = "pruning/kept_tokens"
_ADVICE = "move it away to do without its losses"


class LoggedLoss(NamedTuple):
    """A loss as the trainer logged it.

    Attributes:
        first_step: The first step that it is a mean of, counted from 1.
        step: The last step that it is a mean of: the one at which it was logged.
        loss: Loss in nats a token; NaN or infinite if training was.
    """

    first_step: int
    step: int
    loss: float


def read_losses(
    folder: Path, steps: NDArray[np.int64], kept_tokens: NDArray[np.int64]
) -> list[LoggedLoss]:
    """Read the losses that a run logged, in the order of the steps.

    A folder may also hold checkpoints of an earlier run. So a log counts only if the numbers of
    answer tokens in it are those of the ledger.

    Args:
        folder: The run's output folder.
        steps: The steps of the ledger, ``(S,)``, ascending.
        kept_tokens: Answer tokens that each of these steps trained on, ``(S,)``.

    Returns:
        The losses of the newest log of this run; none if it has saved no log.

    Raises:
        UsageError: A file with a log is damaged.
    """
    by_itself = _read(folder, steps, kept_tokens)
    checkpoints = (one for one in newest_first(folder) if not is_unfinished(one))
    saved = (_read(checkpoint, steps, kept_tokens) for checkpoint in checkpoints)
    with_checkpoint = next(filter(None, saved), [])
    return max(by_itself, with_checkpoint, key=lambda losses: losses[-1].step if losses else 0)


def _read(
    folder: Path, steps: NDArray[np.int64], kept_tokens: NDArray[np.int64]
) -> list[LoggedLoss]:
    """The losses of the log in a folder; none without a log, or if it is of another run."""
    path = folder / TRAINER_STATE
    if not path.is_file():
        return []
    entries = _training_entries(read_object(path, _ADVICE))
    losses = _losses(entries)
    return losses if _is_of(entries, losses, steps, kept_tokens) else []


def _training_entries(state: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The entries of a log that have a training loss, in the order of their steps."""
    history = state.get("log_history")
    entries = [
        entry
        for entry in (history if isinstance(history, list) else [])
        if isinstance(entry, dict) and _is_number(entry.get("loss")) and _is_step(entry.get("step"))
    ]
    return sorted(entries, key=lambda entry: int(entry["step"]))


def _losses(entries: Sequence[Mapping[str, Any]]) -> list[LoggedLoss]:
    losses: list[LoggedLoss] = []
    last = 0
    for entry in entries:
        step = entry["step"]
        if step > last:
            losses.append(LoggedLoss(last + 1, step, float(entry["loss"])))
            last = step
    return losses


def _is_of(
    entries: Sequence[Mapping[str, Any]],
    losses: Sequence[LoggedLoss],
    steps: NDArray[np.int64],
    kept_tokens: NDArray[np.int64],
) -> bool:
    """Whether most entries have the ledger's mean number of answer tokens trained on in a step.

    Those after a resume may not: they are a mean of fewer steps than since the entry before.
    """
    logged = {entry["step"]: entry.get(_KEPT_TOKENS) for entry in entries}
    sums = np.concatenate([[0], np.cumsum(kept_tokens)])
    n_equal = 0
    for one in losses:
        start, end = np.searchsorted(steps, [one.first_step, one.step + 1])
        value = logged[one.step]
        if end > start and value is not None and _is_number(value):
            mean = (sums[end] - sums[start]) / (end - start)
            n_equal += math.isclose(value, mean, rel_tol=1e-6, abs_tol=1e-6)
    return 2 * n_equal >= len(losses)


def _is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number that float can hold."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return isinstance(value, float) or abs(value) < 2**53


def _is_step(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**53
