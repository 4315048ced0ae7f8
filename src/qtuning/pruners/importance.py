"""Sample pruner ``importance``.

What: draws samples with a chance that grows with their loss, and weighs them by its inverse, so
    that the gradient is that of all data on average.
Cost: the scoring pass.
When: the data are clean and what matters is the same result as with all of them, at less cost.
Source: ours, after Not All Samples Are Created Equal, arXiv:1803.00942.
Differs: chances follow the mean answer NLL, not a bound of the gradient's norm, and half of each is
    uniform, so that no weight exceeds twice N/k; exactly k are drawn, by systematic sampling.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from ..core.ratio import keep_count
from .protocols import SCORES, WEIGHTS, SamplePool


class Importance:
    """Keeps a weighted draw of exactly k."""

    needs = frozenset({SCORES, WEIGHTS})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Draw k of ``N``."""
        n = len(pool)
        k = keep_count(n, args.sample_ratio)
        known = pool.ppl.isfinite().nonzero().squeeze(1)
        kept, weight = torch.zeros(n, dtype=torch.bool), torch.ones(n, dtype=torch.float64)
        if len(known) <= k:  # all of them, and to be exact as many of the others as it takes
            others = (~pool.ppl.isfinite()).nonzero().squeeze(1)
            kept[torch.cat([known, others])[:k]] = True
            return replace(Selection.without_plane(kept), weight=weight)
        chance = _chances(pool.ppl[known].log(), k)
        generator = pool.generator()
        # In random order: else neighbours would exclude each other.
        order = torch.randperm(len(known), generator=generator)
        start = torch.rand((), generator=generator, dtype=torch.float64)
        reached = (chance[order].cumsum(0) + start + 1e-9).floor()
        kept[known[order]] = reached > torch.cat([start.floor()[None], reached[:-1]])
        weight[known] = 1.0 / chance
        return replace(Selection.without_plane(kept), weight=weight)


def _chances(loss: Tensor, k: int) -> Tensor:
    """Chance of each sample, ``(N,)`` float64 in (0, 1]; they sum to k."""
    n = loss.shape[0]
    loss = loss.clamp(min=0.0)
    even = torch.full((n,), 1.0 / n, dtype=torch.float64)
    total = float(loss.sum())
    chance = k * (0.5 * even + 0.5 * (loss / total if total > 0 else even))
    for _ in range(n):  # what exceeds 1 is shared out among the others
        over = chance >= 1.0
        rest = k - int(over.sum())
        if not bool((chance > 1.0).any()):
            break
        chance = torch.where(over, 1.0, chance)
        free = float(chance[~over].sum())
        chance[~over] *= rest / free if free > 0 else 1.0
    return chance
