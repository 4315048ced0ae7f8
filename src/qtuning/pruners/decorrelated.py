"""Sample pruners ``q-tuning-ranks`` and ``q-tuning-residual``.

What: Q-Tuning's first stage on axes mended where its own are weak: ranks in place of raw values
    when samples are trimmed or filled up, so that one outlier does not squash all others; or
    entropy less what perplexity says of it already, so that Q2 and Q4 are not empty.
Cost: the scoring pass.
When: to see whether these weaknesses of the plane matter.
Source: ours, after arXiv:2509.23873, 3.2.
Differs: the paper takes perplexity and entropy as they are. Their rank correlation of about 0.8
    leaves few samples in Q2 and Q4, and the fill does the selecting.
"""

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.order import ranked
from ..core.plane import Selection, select_samples
from .protocols import SCORES, SamplePool


class RankPlane:
    """Q-Tuning on ranks: quadrants as in the paper, support by the difference of ranks."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """See ``plane.select_samples``; thresholds are ranks in [0, 1]."""
        error, uncertainty = _ranks(pool.ppl), _ranks(pool.entropy)
        return select_samples(error, uncertainty, args.sample_ratio, bisect_steps=args.bisect_steps)


class ResidualPlane:
    """Q-Tuning with entropy replaced by its residual given log perplexity, both as ranks."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """See ``plane.select_samples``; thresholds are ranks in [0, 1]."""
        residual = _residual(pool.entropy, pool.ppl.log())
        return select_samples(
            _ranks(pool.ppl), _ranks(residual), args.sample_ratio, bisect_steps=args.bisect_steps
        )


def _ranks(values: Tensor) -> Tensor:
    """Ranks scaled to [0, 1], ties in the order given; NaN and infinity stay NaN."""
    known = values.isfinite()
    scaled = torch.full_like(values, torch.nan)
    scaled[known] = ranked(values[known]) / max(1, int(known.sum()) - 1)
    return scaled


def _residual(values: Tensor, given: Tensor) -> Tensor:
    """What is left of values after a least-squares line through ``given``, ``(N,)``."""
    known = values.isfinite() & given.isfinite()
    x, y = given[known], values[known]
    residual = torch.full_like(values, torch.nan)
    if not len(x):
        return residual
    centred = x - x.mean()
    spread = centred.square().sum()
    slope = (centred * y).sum() / spread if float(spread) > 0 else x.new_zeros(())
    left = y - y.mean() - slope * centred
    # On a line, as two samples always are, rounding alone would rank them.
    step = 1e-9 * float(y.abs().max().clamp(min=1e-9))
    residual[known] = (left / step).round() * step
    return residual
