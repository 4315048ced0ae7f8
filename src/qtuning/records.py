"""What is kept on record of a step: the counts of the budget and the rows of the ledger."""

from collections.abc import Sequence

from .budget import StepCounts
from .decide import Decisions
from .ledger import LedgerRow


def count(counts: StepCounts, decisions: Decisions, trained: Sequence[tuple[int, int]]) -> None:
    """Add a step's candidates to ``counts``.

    Args:
        counts: What to add to.
        decisions: The decisions on all candidates.
        trained: (answer tokens kept, input tokens trained on) of each of them.
    """
    for row, decision, (tokens, inputs) in zip(
        decisions.rows, decisions.decided, trained, strict=True
    ):
        counts.samples += row.n_tokens > 0
        counts.empty_samples += row.n_tokens == 0
        counts.kept_samples += decision.kept
        counts.answer_tokens += row.n_tokens
        counts.kept_answer_tokens += tokens
        counts.input_tokens += row.n_input
        counts.scored_samples += row.scored
        counts.scored_tokens += row.n_input if row.scored else 0
        counts.trained_tokens += inputs
    counts.bad_samples = len(decisions.bad)


def ledger_rows(
    decisions: Decisions,
    trained: Sequence[tuple[int, int]],
    step: int,
    epoch: int,
) -> list[LedgerRow]:
    """A row a candidate; ``trained`` as in ``count``."""
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
            tokens_kept=tokens,
            scored=row.scored,
        )
        for row, decision, (tokens, _) in zip(
            decisions.rows, decisions.decided, trained, strict=True
        )
    ]
