"""Rows of the ledger, from the decisions of a step and their costs."""

from collections.abc import Sequence

from ..step.decide import Decision, Decisions
from ..step.work import Work
from .ledger import LedgerRow, WeightedRow


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


def with_weights(
    rows: Sequence[LedgerRow], decisions: Decisions, work: Sequence[Work]
) -> list[WeightedRow]:
    """The rows that ``ledger_rows`` made, with the weights of a run that records them."""
    pairs = zip(decisions.decided, work, strict=True)
    factors = [_mean_factor(decision, cost) for decision, cost in pairs]
    return list(map(WeightedRow, rows, factors))


def _mean_factor(decision: Decision, cost: Work) -> float | None:
    """Mean factor on the loss of a sample's kept tokens, before any scaling; None if none is kept.

    The weights of a token weighter that reads the training forward are not in it.
    """
    if not cost.kept_tokens:
        return None
    factor = cost.kept_tokens if cost.factor is None else cost.factor
    return decision.weight * factor / cost.kept_tokens
