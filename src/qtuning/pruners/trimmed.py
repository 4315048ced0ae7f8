"""Sample pruners ``trimmed-ppl`` and ``trimmed-random``.

What: sets the most surprising 35% of the pool aside as likely noise; of the rest it keeps the most
    surprising (``trimmed-ppl``), or a uniform draw (``trimmed-random``).
Cost: the scoring pass.
When: noisy answers. Rare but right answers are set aside as well.
Source: ours; the two ends of Q-Tuning's error axis (arXiv:2509.23873, 3.2) without the other axis.
Differs: not in the paper. If the budget is above 65%, the least surprising of the samples set aside
    are kept as well.
"""

import math

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.order import argsort
from ..core.plane import Selection
from .protocols import SCORES, SamplePool
from .ranking import keep_highest

_TRIMMED = 0.35


class TrimmedPerplexity:
    """Keeps the samples with the highest perplexity below the pool's 65% quantile."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        error = pool.ppl.log()
        return keep_highest(torch.where(_is_trimmed(error), -1e9 - error, error), args.sample_ratio)


class TrimmedRandom:
    """Keeps a uniform draw of the samples below the pool's 65% quantile of perplexity."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        error = pool.ppl.log()
        draw = torch.rand(len(pool), generator=pool.generator(), dtype=torch.float64)
        draw = draw.masked_fill(error.isnan(), torch.nan)
        return keep_highest(torch.where(_is_trimmed(error), -1e9 - error, draw), args.sample_ratio)


def _is_trimmed(error: Tensor) -> Tensor:
    """Whether a value is among the highest 35% of the known values, ``(N,)`` bool."""
    n_known = int((~error.isnan()).sum())
    mask = torch.zeros(error.shape[0], dtype=torch.bool)
    # NaN sorts last, after the known values.
    mask[argsort(error)[n_known - math.floor(_TRIMMED * n_known + 1e-9) : n_known]] = True
    return mask
