"""Decide once for all ranks which samples of an optimizer step are kept.

Every rank gathers the same rows and computes the same decisions from them. Rows are put into the
order of the data (micro-batch, then rank, then place), so the number of processes does not change
the decisions.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import numpy as np
import torch

from ..arguments import PruningArguments
from ..core.plane import BAND, Selection
from ..examples.candidate import CandidateRow
from ..pruners.protocols import PoolPlace, SamplePruner
from .moment import Moment
from .sample_stage import PoolScores, select


class Pool(NamedTuple):
    """Candidates that compete with each other, in the order of the data.

    Attributes:
        rows: The rows with answer tokens; a row without any is no candidate.
        places: (rank, place in that rank's rows) of each row.
        group: Number of the pool within the step.
    """

    rows: list[CandidateRow]
    places: list[tuple[int, int]]
    group: int


class Decision(NamedTuple):
    """The decision on one candidate; the fields are those of ``plane.Selection``, and its pool."""

    kept: bool = False
    quadrant: int = BAND
    filled: bool = False
    side: float = 0.0
    weight: float = 1.0
    pool: PoolPlace = PoolPlace()


@dataclass(frozen=True)
class Decisions:
    """The decisions of one optimizer step.

    Attributes:
        rows: All candidates without repetitions, in the order of the data.
        decided: The decision on each candidate.
        places: (rank, place in that rank's rows) of each candidate.
        selections: The selection of each pool: one for the step, or one for each micro-batch.
        bad: Ids of the candidates whose loss is NaN or infinite.
    """

    rows: list[CandidateRow]
    decided: list[Decision]
    places: list[tuple[int, int]]
    selections: list[Selection]
    bad: list[str]

    def with_scores(self, fresh: Mapping[tuple[int, int], CandidateRow]) -> "Decisions":
        """The decisions, with scores of candidates that were scored after the decision.

        Scores that a decision was made from stay. A candidate whose loss is NaN or infinite is not
        kept.

        Args:
            fresh: The rows scored after the decision, by (rank, place in that rank's rows).
        """
        rows, decisions, bad = [], [], list(self.bad)
        for row, decision, where in zip(self.rows, self.decided, self.places, strict=True):
            fresh_row = fresh.get(where)
            if fresh_row is not None and fresh_row.is_bad:
                decision = decision._replace(kept=False, filled=False)
                bad.append(row.sample_id)
            if fresh_row is not None:
                row = (
                    row._replace(scored=True)
                    if row.is_known and not fresh_row.is_bad
                    else fresh_row
                )
            rows.append(row)
            decisions.append(decision)
        return replace(self, rows=rows, decided=decisions, bad=bad)

    def of_rank(self, rank: int, n: int) -> list[Decision]:
        """The decisions on the ``n`` rows of a rank; a row that is no candidate is not kept."""
        decisions = [Decision()] * n
        for (owner, place), decision in zip(self.places, self.decided, strict=True):
            if owner == rank:
                decisions[place] = decision
        return decisions

    @classmethod
    def of_micro_batches(cls, parts: Sequence["Decisions"]) -> "Decisions":
        """Join the decisions on the micro-batches of a step.

        Args:
            parts: The decisions on each micro-batch of all ranks.
        """
        step = cls([], [], [], [], [])
        n_rows: Counter[int] = Counter()  # of each rank, in earlier micro-batches
        for part in parts:
            step.rows.extend(part.rows)
            step.decided.extend(part.decided)
            step.places.extend((rank, n_rows[rank] + place) for rank, place in part.places)
            step.selections.extend(part.selections)
            step.bad.extend(part.bad)
            # Repeated rows have no decision, and come after all rows that have one.
            n_rows.update(rank for rank, _ in part.places)
        return step


def decide(
    gathered: Sequence[Sequence[CandidateRow]],
    pruner: SamplePruner,
    args: PruningArguments,
    moment: Moment,
    first_group: int = 0,
) -> Decisions:
    """Run the sample pruner over the step's pool, or over a pool for each micro-batch.

    ``pool_scope="micro"`` makes a pool of each micro-batch. A candidate whose loss is NaN or
    infinite in scoring is never kept, whether or not the sample pruner looks at scores.

    Args:
        gathered: The rows of each rank.
        pruner: The sample pruner.
        args: The pruning arguments.
        moment: Where the run stands.
        first_group: Number of the first pool within the step.

    Returns:
        The decisions on all candidates without repetitions, in the order of the data.

    Raises:
        UsageError: A user's pruner did not return a decision for each candidate of a pool.
    """
    places = _in_order(gathered)
    rows = [gathered[rank][place] for rank, place in places]
    decision_at = dict.fromkeys(places, Decision())
    selections = []
    for pool in candidate_pools(gathered, args.pool_scope):
        group = first_group + pool.group
        selection = selected(pool.rows, pruner, args, moment, group=group)
        selections.append(selection)
        weights = selection.weight
        if weights is None:
            weights = selection.side.new_ones(len(pool.rows))
        n_tokens = sum(row.n_tokens for row in pool.rows)
        columns = (
            selection.kept.tolist(),
            selection.quadrant.tolist(),
            selection.filled.tolist(),
            selection.side.tolist(),
            weights.tolist(),
        )
        for place, (kept, quadrant, filled, side, factor) in enumerate(zip(*columns, strict=True)):
            own = PoolPlace(group, place, n_tokens)
            decision = Decision(kept, quadrant, filled, side, factor, own)
            decision_at[pool.places[place]] = decision
    bad = [row.sample_id for row in rows if row.is_bad]
    return Decisions(rows, [decision_at[where] for where in places], places, selections, bad)


def selected(
    rows: Sequence[CandidateRow],
    pruner: SamplePruner,
    args: PruningArguments,
    moment: Moment,
    *,
    group: int,
) -> Selection:
    """Run the sample pruner over the rows of one pool, see ``sample_stage.select``.

    Raises:
        UsageError: A user's pruner did not return a decision for each candidate of the pool.
    """
    scores = PoolScores(
        ppl=torch.tensor([row.ppl for row in rows], dtype=torch.float64),
        entropy=torch.tensor([row.entropy for row in rows], dtype=torch.float64),
        n_tokens=torch.tensor([row.n_tokens for row in rows]),
        sample_ids=[row.name for row in rows],
        bad=torch.tensor([row.is_bad for row in rows]),
        extras={
            name: torch.from_numpy(np.array([dict(row.extras)[name] for row in rows], np.float64))
            for name, _ in rows[0].extras
        },
    )
    return select(scores, pruner, args, moment, group=group)


def candidate_pools(gathered: Sequence[Sequence[CandidateRow]], scope: str) -> list[Pool]:
    """The pools of a step: one, or one for each micro-batch and rank; empty pools are left out.

    Args:
        gathered: The rows of each rank.
        scope: "step" for one pool, else "micro".
    """
    places = _in_order(gathered)
    if scope == "step":
        groups = [places]
    else:
        by_micro = groupby(places, key=lambda where: (gathered[where[0]][where[1]].micro, where[0]))
        groups = [list(members) for _, members in by_micro]
    pools = []
    for number, members in enumerate(groups):
        candidates = [
            (rank, place) for rank, place in members if gathered[rank][place].n_tokens > 0
        ]
        if candidates:
            pools.append(Pool([gathered[r][p] for r, p in candidates], candidates, number))
    return pools


def _in_order(gathered: Sequence[Sequence[CandidateRow]]) -> list[tuple[int, int]]:
    """(rank, place) of all rows that repeat no other row, in the order of the data."""
    keys = sorted(
        (row.micro, rank, place)
        for rank, rows in enumerate(gathered)
        for place, row in enumerate(rows)
        if not row.repeated
    )
    return [(rank, place) for _, rank, place in keys]
