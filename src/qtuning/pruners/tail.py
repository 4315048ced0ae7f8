"""Sample pruner ``tail``.

What: drops the samples whose NLL has fallen most since before training: m is the mean over the
    answer tokens of NLL minus the NLL under the model before training, and the lowest share f of
    the whole pool is dropped.
Cost: the scoring pass, and one pass of the model before training over each sample, once: the model
    without its adapters where it has any, else a copy, or ``reference_model_name_or_path``.
When: several epochs, and what was known before must not be forgotten: what has been learnt already
    is not trained on further.
Source: arXiv:2608.25756.
Differs: f rises linearly from 0 to 1 minus the sample ratio; published is a rise to 0.5, so
    ``sample_ratio`` 0.5. It rises with the steps of the run, also those outside ``prune_start`` to
    ``prune_end``. ``tail_schedule`` fixed drops 1 minus the sample ratio in every step. Kept are
    max(1, floor((1 - f) N)).
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import BASE_MEAN, SCORES, SamplePool
from .ranking import keep_highest


class Tail:
    """Keeps the samples whose mean NLL has fallen least since before training."""

    needs = frozenset({SCORES, BASE_MEAN})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep ``max(1, floor((1 - f) N))`` samples."""
        first, last = self.budget(args)
        change = pool.ppl.log() - pool.extras[BASE_MEAN].squeeze(1)
        return keep_highest(change, first + (last - first) * pool.progress)

    def budget(self, args: PruningArguments) -> tuple[float, float]:
        """Shares of the candidates kept at the beginning and at the end of the run."""
        return (1.0 if args.tail_schedule == "linear" else args.sample_ratio), args.sample_ratio
