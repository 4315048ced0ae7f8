"""One budget of answer tokens for a whole pool: ``token_budget: pool`` of ``q-tuning``.

A pool whose candidates have A answer tokens keeps ``max(1, floor(r_sample * r_token * A))`` of
them: (1 - r_sample r_token) A tokens are to go. Those of dropped samples are gone; the rest of the
number is taken from the pruned samples, the highest score of all of them first, whichever sample
it is in. So an answer may lose all its tokens, and a pool whose kept samples are short keeps them
whole. Where samples that keep all their tokens have more than the budget, all is kept of these.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.ratio import keep_count
from ..core.tokens import token_scores
from .protocols import TokenPool, TokenSample
from .ranking import nth, up_to


def keep_within_budget(
    pool: TokenPool, prunable: Sequence[Tensor], args: PruningArguments
) -> list[Tensor]:
    """Keep masks, ``(T,)`` bool, of the kept samples of all pools of a step.

    Of equal scores the earlier token is kept, in the order of the data; so the masks do not depend
    on the number of ranks. Every rank must call it.

    Args:
        pool: The kept samples of this rank.
        prunable: Which answer tokens of each sample may be pruned, ``(T,)`` bool; none where the
            sample has no NLL.
        args: The pruning arguments: ratios, neighbours, and which ranks share a pool.
    """
    samples, nothing = pool.samples, torch.zeros(4, 0, dtype=torch.float64)
    # A micro-batch of one device is a pool of its own.
    gather: Callable[[list[float]], list[float]] = (
        pool.gather if args.pool_scope == "step" else list
    )
    own_keys = [_keys(*one, args) for one in zip(samples, prunable, strict=True)]
    keys = torch.cat([nothing, *own_keys], dim=1)
    counts = [float(n) for sample in samples for n in (sample.pool.group, sample.n_tokens)]
    keys_of_all = torch.tensor(gather(keys.T.flatten().tolist()), dtype=torch.float64)
    keys_of_all = keys_of_all.view(-1, len(keys)).T
    counts_of_all = torch.tensor(gather(counts), dtype=torch.float64).view(-1, 2)
    pruned = torch.zeros(keys.shape[1], dtype=torch.bool)
    groups, groups_of_all = keys[0], keys_of_all[0]
    for group, n_tokens in {sample.pool.group: sample.pool.n_tokens for sample in samples}.items():
        n_kept = int(counts_of_all[counts_of_all[:, 0] == group, 1].sum())
        rivals = keys_of_all[1:, groups_of_all == group]
        budget = keep_count(n_tokens, args.sample_ratio * args.token_ratio)
        n = min(n_kept - budget, rivals.shape[1])
        if n > 0:
            pruned |= (groups == group) & up_to(keys[1:], nth(rivals, n))
    keeps = []
    for mask, gone in zip(
        prunable, pruned.split([int(mask.sum()) for mask in prunable]), strict=True
    ):
        keep = torch.ones_like(mask)
        keep[mask] = ~gone
        keeps.append(keep)
    return keeps


def _keys(sample: TokenSample, prunable: Tensor, args: PruningArguments) -> Tensor:
    """What the prunable tokens of a sample are ranked by, ``(4, n)`` float64, first to go first.

    The number of the pool, then minus the score, minus the place of the sample in the pool, and
    minus the place of the token in the answer.
    """
    if sample.nll is None:
        return torch.zeros(4, 0, dtype=torch.float64)
    scores = token_scores(
        sample.nll, neighbor_lambda=args.neighbor_lambda, neighbor_mean=args.neighbor_mean
    )
    minus_scores = -scores.nan_to_num(nan=torch.inf, posinf=torch.inf)[prunable]
    places = prunable.nonzero().squeeze(1).double()
    return torch.stack(
        [
            torch.full_like(places, sample.pool.group),
            minus_scores,
            torch.full_like(places, -sample.pool.place),
            -places,
        ]
    )
