"""Which candidates of a step are scored anew, where not all are: the rest keep their last scores.

All ranks compute the same choice from the same rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from ..arguments import PruningArguments
from ..core.boundary import boundary_distance
from ..examples.candidate import CandidateRow
from ..pruners.protocols import SamplePruner
from ..signals.score_store import Known, ScoreStore
from .decide import Pool, candidate_pools, selected
from .moment import Moment

Rows = list[list[CandidateRow]]
"""The rows of each rank."""


@dataclass(frozen=True)
class Refresh:
    """Chooses what is scored anew, and fills in the last known scores of the rest.

    Attributes:
        store: The last known scores.
        share: Share of each pool's known samples that is scored anew, in [0, 1].
    """

    store: ScoreStore
    share: float

    def choose(
        self,
        gathered: Rows,
        pruner: SamplePruner,
        args: PruningArguments,
        moment: Moment,
    ) -> list[set[int]]:
        """Places of the rows to score, a set for each rank.

        Never seen samples always are. Of the others the share nearest to a decision boundary is,
        the ones not scored for longest first where that does not tell.
        """
        chosen: list[set[int]] = [set() for _ in gathered]
        for pool in candidate_pools(gathered, args.pool_scope):
            known = [self.store.of(row) for row in pool.rows]
            again = self._again(pool, known, pruner, args, moment)
            for number, (rank, place) in enumerate(pool.places):
                if known[number] is None or number in again:
                    chosen[rank].add(place)
        return chosen

    def _again(
        self,
        pool: Pool,
        known: Sequence[Known | None],
        pruner: SamplePruner,
        args: PruningArguments,
        moment: Moment,
    ) -> set[int]:
        old = [(number, scores) for number, scores in enumerate(known) if scores is not None]
        n = math.ceil(self.share * len(old) - 1e-9)
        if n in (0, len(old)):
            return {number for number, _ in old[:n]}
        ppl = torch.tensor([scores.ppl for _, scores in old], dtype=torch.float64)
        entropy = torch.tensor([scores.entropy for _, scores in old], dtype=torch.float64)
        rows = [
            pool.rows[number]._replace(ppl=scores.ppl, entropy=scores.entropy, extras=scores.extras)
            for number, scores in old
        ]
        # A rehearsal: nothing is remembered of it.
        rehearsal = replace(moment, memory=dict(moment.memory))
        selection = selected(rows, pruner, args, rehearsal, group=pool.group)
        distance = boundary_distance(ppl, entropy, selection.kept).tolist()
        order = sorted(range(len(old)), key=lambda i: (distance[i], old[i][1].step, i))
        return {old[i][0] for i in order[:n]}

    def fill(self, gathered: Rows) -> Rows:
        """The rows with the last known scores where they were not scored."""
        return [[self._filled(row) for row in rows] for rows in gathered]

    def _filled(self, row: CandidateRow) -> CandidateRow:
        known = None if row.scored else self.store.of(row)
        return (
            row
            if known is None
            else row._replace(ppl=known.ppl, entropy=known.entropy, extras=known.extras)
        )
