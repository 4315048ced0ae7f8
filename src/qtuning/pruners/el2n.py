"""Sample pruner ``el2n``.

What: keeps the samples with the largest error vectors: predicted distribution minus the truth.
Cost: the scoring pass, with a second product of answer tokens and head.
When: clean data; a sample that cannot be learnt has a large error in every epoch.
Source: Deep Learning on a Data Diet, arXiv:2107.07075.
Differs: the original averages the norm over several networks early in training and prunes once; a
    sample's score here is the mean over its answer tokens under the model being trained.
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import EL2N, SCORES, SamplePool
from .ranking import keep_highest


class El2n:
    """Keeps the samples with the highest mean norm ``sqrt(sum_v p_v^2 - 2 p_y + 1)``."""

    needs = frozenset({SCORES, EL2N})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        return keep_highest(pool.extras[EL2N][:, 0], args.sample_ratio)
