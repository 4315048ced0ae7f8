"""Token pruners ``fastv`` and ``sparse-vlm``.

What: prunes the answer tokens that receive the least attention from later tokens: from all of them
    (``fastv``), or from those that resemble the prompt (``sparse-vlm``).
Cost: a forward of what is kept, with one layer's attention.
When: for comparison; both were made to drop image tokens from the input, so as to save time.
    Here they prune answer tokens only, also where the data have images: image tokens are never
    trained on, and all of them stay in the input.
Source: FastV, arXiv:2403.06764; SparseVLM, arXiv:2410.04417; in the tables of arXiv:2509.23873.
Differs: attention is that of the last layer, as in the Q-Tuning paper (FastV itself reads the last
    token's attention in the second layer). Attention received is a mean over the tokens that could
    give it, without the token itself, since early tokens would win otherwise. Raters are the answer
    tokens whose hidden state is at least as similar to the prompt as the answer's mean. A token
    that no rater could look at gets the mean of the others.
"""

from torch import Tensor

from ..arguments import PruningArguments
from .protocols import RATER_ATTENTION, RECEIVED_ATTENTION, SCORES, TokenPool
from .ranking import keep_lowest_tokens


class FastV:
    """Keeps the tokens that receive the most attention."""

    needs = frozenset({SCORES, RECEIVED_ATTENTION})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        return keep_lowest_tokens(
            pool, args.token_ratio, lambda one: -one.extras[RECEIVED_ATTENTION]
        )


class SparseVlm:
    """Keeps the tokens that receive the most attention from raters."""

    needs = frozenset({SCORES, RATER_ATTENTION})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        return keep_lowest_tokens(pool, args.token_ratio, lambda one: -one.extras[RATER_ATTENTION])
