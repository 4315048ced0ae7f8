"""Sample pruners ``infobatch`` and ``infobatch-budget``.

What: leaves out at random some of the samples that were well learned when last trained on, and
    weights the loss of those that stay, so that the average gradient is that of all data.
Cost: no scoring pass; a forward of what is kept, whose loss the next epoch reads.
When: several epochs over clean data, and a saving of a third is enough.
Source: InfoBatch, arXiv:2303.04947.
Differs: the loss remembered is the mean answer NLL of a forward just before the sample's training
    step, not of the training forward itself (the same but for dropout); well learned means a loss
    below the mean of the pool, not of the data set. ``infobatch-budget`` is ours: exactly k
    samples, those never trained on first, then those above the mean by loss, the rest drawn at
    random and weighted by the inverse of their probability.
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
    """Keeps about two thirds of the samples, whatever the sample ratio: the original method."""

    needs = frozenset({HISTORY, WEIGHTS})
    own_budget = "about two thirds of them once they are known"

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep all samples not well learned, and each of the others with probability 1 - r."""
        n = len(pool)
        kept, weight = torch.ones(n, dtype=torch.bool), torch.ones(n, dtype=torch.float64)
        if pool.progress < _ANNEALED:
            is_learned = _below_mean(pool.ppl.log())
            is_drawn = torch.rand(n, generator=pool.generator()) >= _PRUNED
            kept = ~is_learned | is_drawn
            if not bool(kept.any()):
                kept[0] = True
            weight[is_learned] = 1.0 / (1.0 - _PRUNED)
        return replace(Selection.without_plane(kept), weight=weight)


class InfoBatchBudget:
    """Keeps exactly k samples: never trained on, then badly learned, then a weighted draw."""

    needs = frozenset({HISTORY, WEIGHTS})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples: never trained on, above the mean by loss, a weighted draw."""
        n = len(pool)
        k = keep_count(n, args.sample_ratio)
        loss = pool.ppl.log()
        is_learned = _below_mean(loss)
        draw = torch.rand(n, generator=pool.generator(), dtype=torch.float64)
        # Samples without a known loss come first, in random order; then the highest loss.
        urgency = torch.where(loss.isnan(), 2.0 + draw, torch.zeros_like(draw))
        is_badly_learned = ~loss.isnan() & ~is_learned
        urgency[is_badly_learned] = 1.0 + ranked(loss[is_badly_learned]) / max(
            1, int(is_badly_learned.sum())
        )
        urgency[is_learned] = draw[is_learned]
        kept = torch.zeros(n, dtype=torch.bool)
        kept[argsort(-urgency)[:k]] = True
        weight = torch.ones(n, dtype=torch.float64)
        n_drawn = int((kept & is_learned).sum())
        if n_drawn:
            weight[is_learned] = float(is_learned.sum()) / n_drawn
        return replace(Selection.without_plane(kept), weight=weight)


def _below_mean(loss: Tensor) -> Tensor:
    """Whether a loss is below the mean of the known losses, ``(N,)`` bool; False for NaN."""
    return loss < loss.nanmean()
