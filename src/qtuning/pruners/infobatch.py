"""Sample pruners ``infobatch`` and ``infobatch-budget``.

What: leaves out at random some of the samples that were well learned when last trained on, and
    weighs the loss of those that stay so that the gradient is right on average.
Cost: no scoring pass; a forward of what is kept, to know its loss next time.
When: several epochs over clean data, and a saving of a third is enough.
Source: InfoBatch, arXiv:2303.04947.
Differs: the loss remembered is the mean answer NLL of a forward just before the sample's training
    step, not of the training forward itself (the same but for dropout); the mean that tells well
    learned from not is that of the pool, not of the data set. ``infobatch-budget`` is ours: exactly
    k samples, those never trained on first, then those above the mean by loss, the rest drawn at
    random and weighted by the inverse of their chance.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.order import argsort, ranked
from ..core.plane import Selection
from ..core.ratio import keep_count
from .protocols import HISTORY, WEIGHTS, SamplePool

_PRUNED = 0.5  # share r of the well learned samples that is left out
_ANNEALED = 0.875  # share of the run after which nothing is pruned


class InfoBatch:
    """Keeps about two thirds, whatever the sample ratio: the original."""

    needs = frozenset({HISTORY, WEIGHTS})
    own_budget = "about two thirds of them once they are known"

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep what is not well learned, and each of the others with chance 1 - r."""
        n = len(pool)
        kept, weight = torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.float64)
        if pool.progress < _ANNEALED:
            learned = _is_learned(pool.ppl.log())
            drawn = torch.rand(n, generator=pool.generator()) >= _PRUNED
            kept = ~learned | drawn
            if not bool(kept.any()):
                kept[0] = True
            weight[learned] = 1.0 / (1.0 - _PRUNED)
        return replace(Selection.without_plane(kept), weight=weight)


class InfoBatchBudget:
    """Keeps exactly k: never trained on first, then badly learned, then a weighted draw."""

    needs = frozenset({HISTORY, WEIGHTS})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``: never trained on, above the mean by loss, a weighted draw."""
        n = len(pool)
        k = keep_count(n, args.sample_ratio)
        loss = pool.ppl.log()
        learned = _is_learned(loss)
        draw = torch.rand(n, generator=pool.generator(), dtype=torch.float64)
        # The unknown at random, since nothing else tells them apart; then the highest loss.
        urgency = torch.where(loss.isnan(), 2.0 + draw, torch.zeros_like(draw))
        known = ~loss.isnan() & ~learned
        urgency[known] = 1.0 + ranked(loss[known]) / max(1, int(known.sum()))
        urgency[learned] = draw[learned]
        kept = torch.zeros(n, dtype=torch.bool)
        kept[argsort(-urgency)[:k]] = True
        weight = torch.ones(n, dtype=torch.float64)
        chosen = int((kept & learned).sum())
        if chosen:
            weight[learned] = float(learned.sum()) / chosen
        return replace(Selection.without_plane(kept), weight=weight)


def _is_learned(loss: Tensor) -> Tensor:
    """Strictly below the mean of the known losses, ``(N,)`` bool; the unknown are not."""
    return loss < loss.nanmean()
