"""Sample pruners ``ppl-high``, ``ppl-low`` and ``ppl-mid``.

What: keeps the highest or lowest perplexity, or what lies nearest to the pool's median.
Cost: the scoring pass.
When: high: clean data that the model has yet to learn. Low: noisy data. Mid: in doubt.
Source: Perplexed by Perplexity, arXiv:2405.20541.
Differs: there a small reference model scores a pre-training corpus once; here the model being
    trained scores each pool. "Nearest" in ``ppl-mid`` is measured in log perplexity.
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SCORES, SamplePool
from .ranking import keep_highest


class HighPerplexity:
    """Keeps the highest perplexity."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``."""
        return keep_highest(pool.ppl, args.sample_ratio)


class LowPerplexity:
    """Keeps the lowest perplexity."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``."""
        return keep_highest(-pool.ppl, args.sample_ratio)


class MiddlePerplexity:
    """Keeps what lies nearest to the median perplexity of the pool."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``."""
        error = pool.ppl.log()
        return keep_highest(-(error - error.nanmedian()).abs(), args.sample_ratio)
