"""Rows of the ledger, from the decisions of a step and their costs."""

from collections.abc import Collection, Sequence

from ..io.weights import LOSS_WEIGHT
from ..step.decide import Decision, Decisions
from ..step.work import Work
from .ledger import LedgerRow, WideRow


def ledger_rows(
    decisions: Decisions,
    work: Sequence[Work],
    step: int,
    epoch: int,
    columns: Collection[str] = (),
) -> list[LedgerRow | WideRow]:
    """A row of the ledger for each candidate of a step.

    Args:
        decisions: The decisions on the candidates.
        work: As in ``step.work.count``.
        step: The step, counted from 1.
        epoch: The epoch of its data, counted from 0.
        columns: The columns of the ledger, some of which not every ledger has.
    """
    rows: list[LedgerRow | WideRow] = []
    for row, decision, cost in zip(decisions.rows, decisions.decided, work, strict=True):
        told = LedgerRow(
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
        more: dict[str, int | str | float | None] = {}
        if "turn" in columns:
            more |= {"turn": row.turn, "kind": row.kind}
        if LOSS_WEIGHT in columns:
            more[LOSS_WEIGHT] = _mean_factor(decision, cost)
        rows.append(WideRow(told, more) if more else told)
    return rows


def _mean_factor(decision: Decision, cost: Work) -> float | None:
    """Mean factor on the loss of a sample's kept tokens, before any scaling; None if none is kept.

    The weights of a token weighter that reads the training forward are not in it.
    """
    if not cost.kept_tokens:
        return None
    factor = cost.kept_tokens if cost.factor is None else cost.factor
    return decision.weight * factor / cost.kept_tokens
