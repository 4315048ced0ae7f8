"""Token pruner ``surprising``.

What: drops the tokens that the model predicts best already, which give next to no gradient.
Cost: a forward of what is kept, if the sample pruner did not score it.
When: the budget is small. Behind ``random`` it beat random tokens in the study (docs/study.md);
    behind ``trimmed-ppl`` it fell behind once half of the answers were wrong.
Source: ours; the reversed order of arXiv:2509.23873's ablation, without neighbours.
Differs: the opposite of Q-Tuning's second stage.
"""

from torch import Tensor

from ..arguments import PruningArguments
from .protocols import SCORES, TokenPool, TokenSample
from .ranking import keep_lowest_tokens


class Surprising:
    """Keeps the tokens with the highest NLL."""

    needs = frozenset({SCORES})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        return keep_lowest_tokens(pool, args.token_ratio, _ease)


def _ease(sample: TokenSample) -> Tensor:
    """Log-probability of each answer token, ``(T,)``."""
    assert sample.nll is not None
    return -sample.nll
