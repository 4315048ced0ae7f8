"""Sample pruners ``longest`` and ``shortest``.

What: keeps the samples with the most, or the fewest, answer tokens.
Cost: nothing: no scoring pass.
When: instruction data in which long answers are the careful ones.
Source: Long Is More for Alignment, arXiv:2402.04833; in the tables of arXiv:2509.23873.
Differs: the original keeps the longest 1,000 of a data set, this one the longest of each pool. The
    Q-Tuning paper's text says "removed the longest", which would be ``shortest``.
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SamplePool
from .ranking import keep_highest


class Longest:
    """Keeps the samples with the most answer tokens."""

    needs: frozenset[str] = frozenset()

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples; of equal lengths the earlier."""
        return keep_highest(pool.n_tokens, args.sample_ratio)


class Shortest:
    """Keeps the samples with the fewest answer tokens."""

    needs: frozenset[str] = frozenset()

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples; of equal lengths the earlier."""
        return keep_highest(-pool.n_tokens, args.sample_ratio)
