"""Sample pruners ``gain-high``, ``gain-random`` and ``q-tuning-gain``.

What: judges a sample by its gain: the NLL of its answer alone minus the NLL of its answer given its
    prompt, in nats. ``gain-high`` and ``gain-random`` take the gain summed over the answer:
    the highest, or a uniform draw from those above the pool's quantile ``gain_quantile``.
    ``q-tuning-gain`` is Q-Tuning's plane with minus the gain an answer token as its error axis,
    beside the mean entropy, so that Q1 is noise: the prompt tells nothing, and the model is unsure.
Cost: the scoring pass, and a second one over the answers without their prompts; scored once before
    training, with ``initial_scores`` of `qtuning score --alone` and ``score_refresh`` 0, none.
When: wrong answers in the data: an answer that belongs to another prompt has little gain, often
    less than none.
Source: ours; the error axis of arXiv:2509.23873, 3.2, replaced by what arXiv:2308.12032 compares.
Differs: IFD takes the quotient of the two means, and keeps the samples whose prompt helps least.
    The sum favours long answers, as it adds up what the prompt tells; the plane takes the mean.
    Samples without a prompt have no gain: ``gain-high`` and ``gain-random`` take them last,
    ``q-tuning-gain`` as the last to fill the budget, in the order of the data. Where fewer than k
    lie above the quantile, ``gain-random`` takes the next highest. ``error_scale`` has no effect.
"""

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.order import argsort
from ..core.plane import Selection, select_samples
from ..core.ratio import keep_count
from .protocols import SCORES, WITHOUT_PROMPT, SamplePool
from .ranking import keep_first, keep_highest, last_without_prompt


class GainHigh:
    """Keeps the highest gains: summed NLL of the answer alone minus that given its prompt."""

    needs = frozenset({SCORES, WITHOUT_PROMPT})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        return keep_highest(last_without_prompt(_summed_gain(pool), pool), args.sample_ratio)


class GainRandom:
    """Keeps a uniform draw of the samples of gain above the pool's ``gain_quantile``."""

    needs = frozenset({SCORES, WITHOUT_PROMPT})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples: drawn, then the next highest, then those without a prompt."""
        gain = last_without_prompt(_summed_gain(pool), pool)
        n_known = int(gain.isfinite().sum())
        n_above = n_known - math.floor(args.gain_quantile * n_known + 1e-9)
        order = argsort(-gain)  # NaN is last
        draw = torch.rand(len(pool), generator=pool.generator(), dtype=torch.float64)
        above = order[:n_above]
        above = above[argsort(draw[above])]
        return keep_first(torch.cat([above, order[n_above:]]), args.sample_ratio)


class QTuningGain:
    """Q-Tuning with minus the gain an answer token as its error axis: Q1 is noise."""

    needs = frozenset({SCORES, WITHOUT_PROMPT})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``; ``ppl_lo`` and ``ppl_hi`` of the thresholds are minus the gain."""
        error = -_gain_a_token(pool)
        selection = select_samples(
            error, pool.entropy, args.sample_ratio, bisect_steps=args.bisect_steps
        )
        # Samples without a prompt have no place in the plane: they fill up what it leaves open.
        n_missing = keep_count(len(pool), args.sample_ratio) - int(selection.kept.sum())
        is_outside = error.isnan() & ~pool.ppl.isnan()
        more = torch.zeros_like(selection.kept)
        more[is_outside.nonzero().squeeze(1)[: max(0, n_missing)]] = True
        return replace(selection, kept=selection.kept | more, filled=selection.filled | more)


def _gain_a_token(pool: SamplePool) -> Tensor:
    """What each prompt tells of an answer token, mean in nats, ``(N,)``; NaN without a prompt."""
    nll_alone, nll_after_prompt = pool.extras[WITHOUT_PROMPT].unbind(1)
    gain = nll_alone - nll_after_prompt
    return gain.masked_fill(gain.isinf(), torch.nan)


def _summed_gain(pool: SamplePool) -> Tensor:
    """What each prompt tells about its answer in nats, ``(N,)``; NaN without a prompt."""
    return _gain_a_token(pool) * pool.n_tokens
