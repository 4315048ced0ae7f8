"""Decide once for all ranks which samples of an optimizer step are kept.

Every rank gathers the same rows and computes the same decisions from them. Rows are put into the
order of the data (micro-batch, then rank, then place), so that one process and several decide
alike.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

import torch
from torch import Tensor

from .config import PruningArguments
from .errors import UsageError
from .plane import BAND, Selection
from .pruners.base import SCORES, SamplePool, SamplePruner


class Row(NamedTuple):
    """One candidate as its rank tells the others.

    Attributes:
        micro: Number of its micro-batch within the step.
        sample_id: Its id.
        ppl: Perplexity; NaN if not scored.
        entropy: Mean answer entropy in nats; NaN if not scored.
        n_tokens: Answer tokens; 0 makes it no candidate.
        n_input: Input tokens.
        repeated: A repetition that the loader used to fill up an epoch's last batch.
    """

    micro: int
    sample_id: str
    ppl: float
    entropy: float
    n_tokens: int
    n_input: int
    repeated: bool


class Decision(NamedTuple):
    """What was decided on one candidate, see ``plane.Selection``."""

    kept: bool = False
    quadrant: int = BAND
    filled: bool = False
    side: float = 0.0


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

    rows: list[Row]
    decided: list[Decision]
    places: list[tuple[int, int]]
    selections: list[Selection]
    bad: list[str]

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
    gathered: Sequence[Sequence[Row]],
    pruner: SamplePruner,
    args: PruningArguments,
    *,
    step: int,
    seed: int,
    scored: bool = False,
    first_group: int = 0,
) -> Decisions:
    """Run the sample pruner over the pool, or over each micro-batch's (``pool_scope="micro"``).

    Args:
        gathered: The rows of each rank.
        pruner: The sample pruner.
        args: The pruning arguments.
        step: The optimizer step about to be taken, counted from 1.
        seed: The run's seed.
        scored: The rows carry scores, though the sample pruner may not need them: a token pruner
            may. A bad loss must not be kept either way.
        first_group: Number of the first pool within the step.

    Raises:
        UsageError: A user's pruner returned something else than N decisions.
    """
    ordered = sorted(
        (row.micro, rank, place)
        for rank, rows in enumerate(gathered)
        for place, row in enumerate(rows)
        if not row.repeated
    )
    places = [(rank, place) for _, rank, place in ordered]
    rows = [gathered[rank][place] for rank, place in places]
    scored = scored or SCORES in pruner.needs
    bad = [scored and row.n_tokens > 0 and not _is_finite(row) for row in rows]

    decided = [Decision()] * len(rows)
    selections = []
    for group, members in enumerate(_pools(ordered, args.pool_scope), first_group):
        usable = [i for i in members if rows[i].n_tokens > 0]
        if not usable:
            continue
        pool = SamplePool(
            ppl=torch.tensor([rows[i].ppl for i in usable], dtype=torch.float64),
            entropy=torch.tensor([rows[i].entropy for i in usable], dtype=torch.float64),
            n_tokens=torch.tensor([rows[i].n_tokens for i in usable]),
            sample_ids=[rows[i].sample_id for i in usable],
            step=step,
            seed=seed,
            group=group,
        )
        selection = _checked(pruner(pool, args), len(pool))
        selections.append(selection)
        for i, kept, quadrant, filled, side in zip(
            usable,
            selection.kept.tolist(),
            selection.quadrant.tolist(),
            selection.filled.tolist(),
            selection.side.tolist(),
            strict=True,
        ):
            decided[i] = Decision(kept and not bad[i], quadrant, filled and not bad[i], side)
    names = [row.sample_id for row, is_bad in zip(rows, bad, strict=True) if is_bad]
    return Decisions(rows, decided, places, selections, names)


def _pools(ordered: Sequence[tuple[int, int, int]], scope: str) -> list[list[int]]:
    """Indices of the rows that compete with each other."""
    if scope == "step":
        return [list(range(len(ordered)))]
    by_micro = groupby(range(len(ordered)), key=lambda i: ordered[i][:2])
    return [list(members) for _, members in by_micro]


def _is_finite(row: Row) -> bool:
    return math.isfinite(row.ppl) and math.isfinite(row.entropy)


def _checked(selection: object, n: int) -> Selection:
    if isinstance(selection, Tensor):
        selection = Selection.without_plane(selection.cpu())
    if isinstance(selection, Selection):
        parts = (selection.kept, selection.quadrant, selection.filled, selection.side)
        if selection.kept.dtype == torch.bool and all(part.shape == (n,) for part in parts):
            return selection
    raise UsageError(
        f"the sample pruner must return a Selection or a bool tensor of shape ({n},), got "
        f"{' '.join(repr(selection).split())[:80]}"
    )
