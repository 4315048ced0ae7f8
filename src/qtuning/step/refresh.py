"""Choose which candidates of a step are scored again; the rest keep their last scores.

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
    """Chooses which candidates are scored again, and fills in the last scores of the rest.

    Attributes:
        store: The last known scores.
        share: Share of each pool's known samples that is scored again, in [0, 1].
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

        Samples without scores are always scored. Of the others the share nearest to a decision
        boundary is scored; at the same distance the oldest scores come first.
        """
        places: list[set[int]] = [set() for _ in gathered]
        for pool in candidate_pools(gathered, args.pool_scope):
            last_scores = [self.store.of(row) for row in pool.rows]
            numbers = self._again(pool, last_scores, pruner, args, moment)
            for number, (rank, place) in enumerate(pool.places):
                if last_scores[number] is None or number in numbers:
                    places[rank].add(place)
        return places

    def _again(
        self,
        pool: Pool,
        last_scores: Sequence[Known | None],
        pruner: SamplePruner,
        args: PruningArguments,
        moment: Moment,
    ) -> set[int]:
        """Numbers within the pool of the known samples that are scored again."""
        known_scores = [
            (number, scores) for number, scores in enumerate(last_scores) if scores is not None
        ]
        n = math.ceil(self.share * len(known_scores) - 1e-9)
        if n in (0, len(known_scores)):
            return {number for number, _ in known_scores[:n]}
        ppl = torch.tensor([scores.ppl for _, scores in known_scores], dtype=torch.float64)
        entropy = torch.tensor([scores.entropy for _, scores in known_scores], dtype=torch.float64)
        rows = [
            pool.rows[number]._replace(ppl=scores.ppl, entropy=scores.entropy, extras=scores.extras)
            for number, scores in known_scores
        ]
        # The pruner must not remember this trial, so it writes into a copy of its memory.
        trial = replace(moment, memory=dict(moment.memory))
        selection = selected(rows, pruner, args, trial, group=pool.group)
        distance = boundary_distance(ppl, entropy, selection.kept).tolist()
        order = sorted(
            range(len(known_scores)), key=lambda i: (distance[i], known_scores[i][1].step, i)
        )
        return {known_scores[i][0] for i in order[:n]}

    def fill(self, gathered: Rows) -> Rows:
        """The rows; a row that was not scored in this step gets its last known scores."""
        return [[self._filled(row) for row in rows] for rows in gathered]

    def _filled(self, row: CandidateRow) -> CandidateRow:
        scores = None if row.scored else self.store.of(row)
        return (
            row
            if scores is None
            else row._replace(ppl=scores.ppl, entropy=scores.entropy, extras=scores.extras)
        )
