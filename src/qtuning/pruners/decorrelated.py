"""Sample pruners ``q-tuning-ranks`` and ``q-tuning-residual``.

What: Q-Tuning's first stage on other axes: ranks in place of raw values when samples are trimmed or
    filled up, so that one outlier does not squash all others; or entropy minus the part that
    perplexity predicts, so that Q2 and Q4 are not empty.
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
        """Keep k of ``N``, see ``plane.select_samples``; thresholds are ranks in [0, 1]."""
        error, uncertainty = _ranks(pool.ppl), _ranks(pool.entropy)
        return select_samples(error, uncertainty, args.sample_ratio, bisect_steps=args.bisect_steps)


class ResidualPlane:
    """Q-Tuning with entropy replaced by its residual given log perplexity, both as ranks."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``, see ``plane.select_samples``; thresholds are ranks in [0, 1]."""
        residual = _residual(pool.entropy, pool.ppl.log())
        return select_samples(
            _ranks(pool.ppl), _ranks(residual), args.sample_ratio, bisect_steps=args.bisect_steps
        )


def _ranks(values: Tensor) -> Tensor:
    """Ranks scaled to [0, 1], ties keep the order given; NaN and infinity become NaN."""
    finite = values.isfinite()
    scaled = torch.full_like(values, torch.nan)
    scaled[finite] = ranked(values[finite]) / max(1, int(finite.sum()) - 1)
    return scaled


def _residual(values: Tensor, predictor: Tensor) -> Tensor:
    """Residual of the values after a least-squares fit on ``predictor``, ``(N,)``."""
    finite = values.isfinite() & predictor.isfinite()
    x, y = predictor[finite], values[finite]
    residual = torch.full_like(values, torch.nan)
    if not len(x):
        return residual
    centred = x - x.mean()
    spread = centred.square().sum()
    slope = (centred * y).sum() / spread if float(spread) > 0 else x.new_zeros(())
    remainder = y - y.mean() - slope * centred
    # Values on one line, as any two are, would otherwise be ranked by rounding errors.
    step = 1e-9 * float(y.abs().max().clamp(min=1e-9))
    residual[finite] = (remainder / step).round() * step
    return residual
