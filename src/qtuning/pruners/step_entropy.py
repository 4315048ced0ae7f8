"""Token pruner ``step-entropy``.

What: prunes whole reasoning steps, those with the least summed entropy.
Cost: a forward of what is kept, if the sample pruner did not score it.
When: long worked solutions with idle steps. The opposite direction of Q-Tuning.
Source: Compressing Chain-of-Thought via Step Entropy, arXiv:2508.03346.
Differs: the original prunes 80% of the steps; here ``token_ratio`` counts tokens, so the last step
    that fits in part is cut. Steps end at blank lines, else at line ends.
"""

import torch
from torch import Tensor

from ..arguments import PruningArguments
from .protocols import SCORES, STEPS, TokenPool, TokenSample
from .ranking import keep_lowest_tokens


class StepEntropy:
    """Keeps the steps with the highest summed token entropy."""

    needs = frozenset({SCORES, STEPS})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample, step by step."""
        return keep_lowest_tokens(pool, args.token_ratio, lambda one: -_entropy_of_step(one))


def _entropy_of_step(sample: TokenSample) -> Tensor:
    """Summed entropy of the step that each token belongs to, in nats, ``(T,)`` float64."""
    assert sample.entropy is not None
    step = sample.extras[STEPS]
    sums = torch.zeros(sample.n_tokens, dtype=torch.float64)
    return sums.index_add_(0, step, sample.entropy.double())[step]
