"""The loss of each step of a run: as it was logged, or as the ledger has it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..run.train_log import LoggedLoss
from .history import History

LOG, LEDGER = "log", "ledger"


@dataclass(frozen=True)
class Losses:
    """Losses of a run in nats a token, as columns ``(N,)`` in the order of the steps.

    Attributes:
        source: ``"log"``: the losses that the trainer logged, each a mean over the tokens trained
            on. ``"ledger"``: the mean NLL of the answer tokens of the samples kept, as they were
            scored before the step.
        first: The first step that a loss is of.
        step: The last step that it is of: another one where not every step is logged.
        loss: The loss; NaN or infinite if training was.
    """

    source: str
    first: NDArray[np.int64]
    step: NDArray[np.int64]
    loss: NDArray[np.float64]


def losses_of(history: History, logged: Sequence[LoggedLoss], *, own_scores: bool) -> Losses:
    """The losses of a run, from the source that tells most.

    These are the logged ones if every step was logged; else those of the ledger, if they are known
    for half of the steps; else the logged ones, each a mean of several steps.

    Args:
        history: The visits of the run.
        logged: The losses in the trainer's log; may be empty.
        own_scores: Whether the model that was trained made the scores, so that they are its losses.

    Raises:
        UsageError: Neither the log nor the ledger has losses.
    """
    in_log = Losses(
        LOG,
        np.array([one.first_step for one in logged], np.int64),
        np.array([one.step for one in logged], np.int64),
        np.array([one.loss for one in logged], np.float64),
    )
    n_steps = len(history.steps)
    if (in_log.first == in_log.step).all() and len(in_log.step) >= n_steps:
        return in_log
    in_ledger = answer_losses(history, history.kept)
    known = np.isfinite(in_ledger)
    if own_scores and 2 * known.sum() >= n_steps:
        steps = history.steps[known]
        return Losses(LEDGER, steps, steps, in_ledger[known])
    if logged:
        return in_log
    raise UsageError(
        "no losses on record: the pruners read no scores of the model, and no checkpoint has a log "
        "of this run; train with checkpoints, or call trainer.save_state()"
    )


def answer_losses(history: History, chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The mean NLL of the answer tokens in each step, ``(S,)``; NaN where it is not known.

    Args:
        history: The visits of the run.
        chosen: The visits that count, ``(N,)``; of these only such that were scored at their step.
    """
    counts = chosen & history.scored & np.isfinite(history.loss)
    n_tokens = np.where(counts, history.n_tokens, 0)
    nll = n_tokens * np.where(counts, history.loss, 0.0)
    totals = history.by_step(n_tokens)
    means = np.full(len(totals), np.nan)
    np.divide(history.by_step(nll), totals, out=means, where=totals > 0)
    return means
