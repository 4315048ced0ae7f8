"""Decide once for all ranks which samples of an optimizer step are kept.

Every rank gathers the same rows and computes the same decisions from them. Rows are put into the
order of the data (micro-batch, then rank, then place), so that one process and several decide
alike.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import NamedTuple

import torch

from ..arguments import PruningArguments
from ..core.plane import BAND, Selection
from ..examples.candidate import CandidateRow
from ..pruners.checked import checked_selection
from ..pruners.protocols import SamplePool, SamplePruner
from .moment import Moment


class Pool(NamedTuple):
    """Candidates that compete with each other, in the order of the data.

    Attributes:
        rows: Those with answer tokens; the others are no candidates.
        places: (rank, place in that rank's rows) of each of them.
        group: Number of the pool within the step.
    """

    rows: list[CandidateRow]
    places: list[tuple[int, int]]
    group: int


class Decision(NamedTuple):
    """What was decided on one candidate, see ``plane.Selection``."""

    kept: bool = False
    quadrant: int = BAND
    filled: bool = False
    side: float = 0.0
    weight: float = 1.0


@dataclass(frozen=True)
class Decisions:
    """The decisions of one optimizer step.

    Attributes:
        rows: All candidates without repetitions, in the order of the data.
        decided: The decision on each of them.
        places: (rank, place in that rank's rows) of each of them.
        selections: The selection of each pool; one, or one a micro-batch.
        bad: Ids of the candidates whose loss is NaN or infinite.
    """

    rows: list[CandidateRow]
    decided: list[Decision]
    places: list[tuple[int, int]]
    selections: list[Selection]
    bad: list[str]

    def with_scores(self, fresh: Mapping[tuple[int, int], CandidateRow]) -> "Decisions":
        """The same after candidates, by place, were scored that had been decided on without.

        The scores that a decision was made from stay. One whose loss turns out bad is not kept.
        """
        rows, decided, bad = [], [], list(self.bad)
        for row, decision, where in zip(self.rows, self.decided, self.places, strict=True):
            now = fresh.get(where)
            if now is not None and now.is_bad:
                decision = decision._replace(kept=False, filled=False)
                bad.append(row.sample_id)
            if now is not None:
                row = row._replace(scored=True) if row.is_known and not now.is_bad else now
            rows.append(row)
            decided.append(decision)
        return replace(self, rows=rows, decided=decided, bad=bad)

    def of_rank(self, rank: int, n: int) -> list[Decision]:
        """The decisions on a rank's own ``n`` rows; what is no candidate is not kept."""
        own = [Decision()] * n
        for (owner, place), decision in zip(self.places, self.decided, strict=True):
            if owner == rank:
                own[place] = decision
        return own

    @classmethod
    def of_micro_batches(cls, gathered: Sequence[Sequence["Decisions"]]) -> "Decisions":
        """The decisions of a step out of those that each rank took, micro-batch by micro-batch.

        Args:
            gathered: Of each rank, the decisions on its own rows of each micro-batch.
        """
        step = cls([], [], [], [], [])
        seen = [0] * len(gathered)
        for parts in zip(*gathered, strict=True):  # the order of the data, as in ``decide``
            for rank, part in enumerate(parts):
                step.rows.extend(part.rows)
                step.decided.extend(part.decided)
                step.places.extend((rank, seen[rank] + place) for _, place in part.places)
                step.selections.extend(part.selections)
                step.bad.extend(part.bad)
                # Repetitions, which have no row here, come after all that have one.
                seen[rank] += len(part.rows)
        return step


def decide(
    gathered: Sequence[Sequence[CandidateRow]],
    pruner: SamplePruner,
    args: PruningArguments,
    moment: Moment,
    first_group: int = 0,
) -> Decisions:
    """Run the sample pruner over the pool, or over each micro-batch's (``pool_scope="micro"``).

    A candidate whose loss came out of scoring as NaN or infinite is never kept, whether or not
    the sample pruner looks at scores.

    Args:
        gathered: The rows of each rank.
        pruner: The sample pruner.
        args: The pruning arguments.
        moment: Where the run stands.
        first_group: Number of the first pool within the step.

    Raises:
        UsageError: A user's pruner returned something else than N decisions.
    """
    places = _in_order(gathered)
    rows = [gathered[rank][place] for rank, place in places]
    decided = dict.fromkeys(places, Decision())
    selections = []
    for pool in candidate_pools(gathered, args.pool_scope):
        selection = selected(pool.rows, pruner, args, moment, group=first_group + pool.group)
        selections.append(selection)
        weights = selection.weight
        if weights is None:
            weights = selection.side.new_ones(len(pool.rows))
        for row, where, kept, quadrant, filled, side, factor in zip(
            pool.rows,
            pool.places,
            selection.kept.tolist(),
            selection.quadrant.tolist(),
            selection.filled.tolist(),
            selection.side.tolist(),
            weights.tolist(),
            strict=True,
        ):
            good = not row.is_bad
            decided[where] = Decision(kept and good, quadrant, filled and good, side, factor)
    bad = [row.sample_id for row in rows if row.is_bad]
    return Decisions(rows, [decided[where] for where in places], places, selections, bad)


def selected(
    rows: Sequence[CandidateRow],
    pruner: SamplePruner,
    args: PruningArguments,
    moment: Moment,
    *,
    group: int,
) -> Selection:
    """What the sample pruner selects of one pool; nothing is known of what has a bad loss.

    Raises:
        UsageError: A user's pruner returned something else than N decisions.
    """
    bad = torch.tensor([row.is_bad for row in rows])
    ppl = torch.tensor([row.ppl for row in rows], dtype=torch.float64)
    entropy = torch.tensor([row.entropy for row in rows], dtype=torch.float64)
    pool = SamplePool(
        ppl=ppl.masked_fill(bad, torch.nan),
        entropy=entropy.masked_fill(bad, torch.nan),
        n_tokens=torch.tensor([row.n_tokens for row in rows]),
        sample_ids=[row.sample_id for row in rows],
        step=moment.step,
        seed=moment.seed,
        group=group,
        progress=moment.progress,
        extras={
            name: torch.tensor(
                [dict(row.extras)[name] for row in rows], dtype=torch.float64
            ).masked_fill(bad[:, None], torch.nan)
            for name, _ in rows[0].extras
        },
        memory=moment.memory,
    )
    return checked_selection(pruner(pool, args), len(pool))


def candidate_pools(gathered: Sequence[Sequence[CandidateRow]], scope: str) -> list[Pool]:
    """The pools of a step: one, or one a micro-batch and rank; none without candidates."""
    places = _in_order(gathered)
    if scope == "step":
        groups = [places]
    else:
        by_micro = groupby(places, key=lambda where: (gathered[where[0]][where[1]].micro, where[0]))
        groups = [list(members) for _, members in by_micro]
    pools = []
    for number, members in enumerate(groups):
        usable = [(rank, place) for rank, place in members if gathered[rank][place].n_tokens > 0]
        if usable:
            pools.append(Pool([gathered[r][p] for r, p in usable], usable, number))
    return pools


def _in_order(gathered: Sequence[Sequence[CandidateRow]]) -> list[tuple[int, int]]:
    """(rank, place) of all rows that are no repetitions, in the order of the data."""
    ordered = sorted(
        (row.micro, rank, place)
        for rank, rows in enumerate(gathered)
        for place, row in enumerate(rows)
        if not row.repeated
    )
    return [(rank, place) for _, rank, place in ordered]
