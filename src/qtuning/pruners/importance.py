"""Sample pruner ``importance``.

What: draws samples with a probability that grows with their loss, and weights their loss by its
    inverse, so that the average gradient is that of all data.
Cost: the scoring pass.
When: the data are clean, and the result should be that of all data at less cost.
Source: ours, after Not All Samples Are Created Equal, arXiv:1803.00942.
Differs: probabilities follow the mean answer NLL, not a bound of the gradient's norm, and half of
    each is uniform, so that no weight exceeds twice N/k; systematic sampling draws exactly k.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from ..core.ratio import keep_count
from .protocols import SCORES, WEIGHTS, SamplePool


class Importance:
    """Keeps a weighted draw of exactly k samples."""

    needs = frozenset({SCORES, WEIGHTS})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Draw k of ``N`` samples."""
        n = len(pool)
        k = keep_count(n, args.sample_ratio)
        finite = pool.ppl.isfinite().nonzero().squeeze(1)
        kept, weight = torch.zeros(n, dtype=torch.bool), torch.ones(n, dtype=torch.float64)
        if len(finite) <= k:  # all of these, filled up to k with the others
            others = (~pool.ppl.isfinite()).nonzero().squeeze(1)
            kept[torch.cat([finite, others])[:k]] = True
            return replace(Selection.without_plane(kept), weight=weight)
        probability = _probabilities(pool.ppl[finite].log(), k)
        generator = pool.generator()
        # In random order: otherwise systematic sampling would seldom draw neighbours together.
        order = torch.randperm(len(finite), generator=generator)
        start = torch.rand((), generator=generator, dtype=torch.float64)
        draw_counts = (probability[order].cumsum(0) + start + 1e-9).floor()
        kept[finite[order]] = draw_counts > torch.cat([start.floor()[None], draw_counts[:-1]])
        weight[finite] = 1.0 / probability
        return replace(Selection.without_plane(kept), weight=weight)


def _probabilities(loss: Tensor, k: int) -> Tensor:
    """Probability of each sample to be drawn, ``(N,)`` float64 in (0, 1]; the sum is k."""
    n = loss.shape[0]
    loss = loss.clamp(min=0.0)
    uniform = torch.full((n,), 1.0 / n, dtype=torch.float64)
    total = float(loss.sum())
    probability = k * (0.5 * uniform + 0.5 * (loss / total if total > 0 else uniform))
    for _ in range(n):  # the excess over 1 is shared among the others
        is_certain = probability >= 1.0
        rest = k - int(is_certain.sum())
        if not bool((probability > 1.0).any()):
            break
        probability = torch.where(is_certain, 1.0, probability)
        uncertain_sum = float(probability[~is_certain].sum())
        probability[~is_certain] *= rest / uncertain_sum if uncertain_sum > 0 else 1.0
    return probability
