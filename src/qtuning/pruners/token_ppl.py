"""Token pruners ``ppl`` and ``ppl-neighbor``.

What: prunes the most surprising tokens of every kept sample.
Cost: a forward of what is kept, if the sample pruner did not score it.
When: answers with local noise. Beware: what a model has yet to learn surprises it as well.
Source: arXiv:2509.23873: the token baseline (lambda 0), and the token score of Q-Tuning itself.
Differs: in nothing that the paper states; unlike ``q-tuning`` it prunes all samples, not only Q2.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.tokens import keep_tokens_many
from .protocols import SCORES, TokenPool, TokenSample


class TokenPerplexity:
    """Prunes the tokens with the highest perplexity (lambda 0)."""

    needs = frozenset({SCORES})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        return keep_least_surprising(pool.samples, args, neighbor_lambda=0.0)


class NeighborPerplexity:
    """Prunes the tokens with the highest smoothed perplexity, with ``neighbor_lambda``."""

    needs = frozenset({SCORES})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        return keep_least_surprising(pool.samples, args, neighbor_lambda=args.neighbor_lambda)


def keep_least_surprising(
    samples: Sequence[TokenSample], args: PruningArguments, *, neighbor_lambda: float
) -> list[Tensor]:
    """``tokens.keep_tokens`` of each sample; a sample without NLL keeps all its tokens."""
    keeps = [torch.ones(sample.n_tokens, dtype=torch.bool) for sample in samples]
    nll = {i: sample.nll for i, sample in enumerate(samples) if sample.nll is not None}
    if not nll:
        return keeps
    lengths = [len(one) for one in nll.values()]
    masks = keep_tokens_many(
        torch.cat(list(nll.values())),
        lengths,
        args.token_ratio,
        neighbor_lambda=neighbor_lambda,
        neighbor_mean=args.neighbor_mean,
        protected=torch.cat([samples[i].protected for i in nll]),
    ).split(lengths)
    for i, mask in zip(nll, masks, strict=True):
        keeps[i] = mask
    return keeps
