"""Sample pruner ``entropy``.

What: keeps the samples whose answers the model is least certain about.
Cost: the scoring pass.
When: the data are clean; noise is uncertain as well and would be kept.
Source: arXiv:2509.23873, B.3.
Differs: in nothing that the paper states.
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SCORES, SamplePool
from .ranking import keep_highest


class EntropySamples:
    """Keeps the samples with the highest mean answer entropy."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        return keep_highest(pool.entropy, args.sample_ratio)
