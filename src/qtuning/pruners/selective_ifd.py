"""Sample pruner ``s-ifd``.

What: instruction-following difficulty of the tokens that the prompt matters to: with d the NLL of
    an answer token given the prompt minus its NLL alone, S-IFD is exp of the mean of d over the
    half of the sample's answer tokens with the largest absolute d. The highest are kept, those
    above 1 dropped.
Cost: the scoring pass, and a second one over the answers without their prompts.
When: instruction data with answers that have little to do with the question.
Source: T-SHIRT, arXiv:2506.01317.
Differs: "the half of all tokens" is here the half of each sample's own answer tokens, max(1,
    floor(T / 2)), so that a sample's score depends on the sample alone; published is one threshold,
    the median of absolute d over all tokens of the data set. Samples above 1 come back, nearest to
    1 first, where fewer than k are left, and behind them those without a prompt. Published is the
    mean over 30 noisy copies, and what is dropped has a mean IFD of 1 or more: offline,
    ``s_ifd_noisy`` reads the mean and the deviation of S-IFD that `qtuning score --noisy_copies 30`
    writes, takes the 2k of highest mean up to 1, and of these the k of least deviation.
"""

import torch

from ..arguments import PruningArguments
from ..core.order import argsort
from ..core.plane import Selection
from ..core.ratio import keep_count
from .protocols import S_IFD, SCORES, SamplePool
from .ranking import keep_first, order_up_to_one


class SelectiveIfd:
    """Keeps the samples with the highest selective IFD, up to 1."""

    needs = frozenset({SCORES, S_IFD})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``; samples without a prompt have no score and come last."""
        scores = pool.extras[S_IFD]
        order = order_up_to_one(scores[:, 0], pool)
        if args.s_ifd_noisy:
            k = keep_count(len(pool), args.sample_ratio)
            # What stands above 1, or has no prompt, may only fill the budget.
            n = min(2 * k, max(k, int((scores[:, 0] <= 1).sum())))
            steadiest = argsort(scores[order[:n], 1])
            order = torch.cat([order[:n][steadiest], order[n:]])
        return keep_first(order, args.sample_ratio)
