"""What is kept on record of a step: the counts of the budget and the rows of the ledger."""

from collections.abc import Sequence
from typing import NamedTuple

from ..step.decide import Decisions
from .budget import StepCounts
from .ledger import LedgerRow


class Work(NamedTuple):
    """What a candidate cost.

    Attributes:
        kept_tokens: Answer tokens that give a loss.
        trained_tokens: Input tokens trained on.
        scored_tokens: Input tokens of forward passes that had no backward.
    """

    kept_tokens: int = 0
    trained_tokens: int = 0
    scored_tokens: int = 0


def count(counts: StepCounts, decisions: Decisions, work: Sequence[Work]) -> None:
    """Add a step's candidates to ``counts``.

    Args:
        counts: What to add to.
        decisions: The decisions on all candidates.
        work: What each of them cost.
    """
    for row, decision, done in zip(decisions.rows, decisions.decided, work, strict=True):
        counts.samples += row.n_tokens > 0
        counts.empty_samples += row.n_tokens == 0
        counts.kept_samples += decision.kept
        counts.answer_tokens += row.n_tokens
        counts.kept_answer_tokens += done.kept_tokens
        counts.input_tokens += row.n_input
        counts.scored_samples += row.scored
        counts.scored_tokens += done.scored_tokens
        counts.trained_tokens += done.trained_tokens
    counts.bad_samples = len(decisions.bad)


def ledger_rows(
    decisions: Decisions,
    work: Sequence[Work],
    step: int,
    epoch: int,
) -> list[LedgerRow]:
    """A row a candidate; ``work`` as in ``count``."""
    return [
        LedgerRow(
            epoch=epoch,
            step=step,
            sample_id=row.sample_id,
            ppl=row.ppl if row.scored or row.is_known else None,
            entropy=row.entropy if row.scored or row.is_known else None,
            n_tokens=row.n_tokens,
            quadrant=decision.quadrant,
            kept=decision.kept,
            filled=decision.filled,
            tokens_kept=done.kept_tokens,
            scored=row.scored,
        )
        for row, decision, done in zip(decisions.rows, decisions.decided, work, strict=True)
    ]
