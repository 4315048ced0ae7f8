"""Token pruner ``profit``.

What: prunes the answer tokens to which the model gives a probability below 0.1.
Cost: a forward of what is kept, if the sample pruner did not score it.
When: answers full of incidental wording. The closest published rival of Q-Tuning's second stage.
Source: ProFit, arXiv:2601.09195.
Differs: the original has no budget. Here the least probable tokens go first and pruning stops at
    the budget; tokens at 0.1 and above are never pruned, so more than the budget may be kept. With
    enough tokens below 0.1 it equals ``ppl``.
"""

import math

from torch import Tensor

from ..arguments import PruningArguments
from .protocols import SCORES, TokenPool
from .token_ppl import keep_least_surprising

_TAU = 0.1


class ProFit:
    """Prunes improbable tokens, the least probable first, down to the budget."""

    needs = frozenset({SCORES})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep at least ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        keeps = keep_least_surprising(pool.samples, args, neighbor_lambda=0.0)
        return [
            keep if sample.nll is None else keep | (sample.nll <= -math.log(_TAU))
            for keep, sample in zip(keeps, pool.samples, strict=True)
        ]
