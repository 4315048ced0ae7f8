"""Sample pruners ``ppl-high``, ``ppl-low`` and ``ppl-mid``.

What: keeps the samples with the highest or lowest perplexity, or nearest to the pool's median.
Cost: the scoring pass.
When: high: clean data that the model has yet to learn. Low: noisy data. Mid: in doubt.
Source: Perplexed by Perplexity, arXiv:2405.20541.
Differs: the original scores a pre-training corpus once with a small reference model; here the model
    being trained scores each pool. "Nearest" in ``ppl-mid`` is measured in log perplexity.
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SCORES, SamplePool
from .ranking import keep_highest


class HighPerplexity:
    """Keeps the samples with the highest perplexity."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        return keep_highest(pool.ppl, args.sample_ratio)


class LowPerplexity:
    """Keeps the samples with the lowest perplexity."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        return keep_highest(-pool.ppl, args.sample_ratio)


class MiddlePerplexity:
    """Keeps the samples nearest to the median perplexity of the pool."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        error = pool.ppl.log()
        return keep_highest(-(error - error.nanmedian()).abs(), args.sample_ratio)
