"""Rows of the ledger, from the decisions of a step and their costs."""

from collections.abc import Sequence

from ..step.decide import Decisions
from ..step.work import Work
from .ledger import LedgerRow


def ledger_rows(
    decisions: Decisions,
    work: Sequence[Work],
    step: int,
    epoch: int,
) -> list[LedgerRow]:
    """A row of the ledger for each candidate of a step; ``work`` as in ``step.work.count``."""
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
            tokens_kept=cost.kept_tokens,
            scored=row.scored,
        )
        for row, decision, cost in zip(decisions.rows, decisions.decided, work, strict=True)
    ]
