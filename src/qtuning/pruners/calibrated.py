"""Sample pruner ``calibrated`` and token pruner ``confident-error``.

What: judges by NLL minus entropy, which is zero on average for a calibrated model. The sample
    pruner keeps the samples where this difference is lowest (the side of Q4); the token pruner
    drops the tokens where it is highest (the model is wrong, and sure of it).
Cost: the scoring pass; for the token pruner a forward of what is kept.
When: wrong answers in the data: a shuffled number surprises a model that was sure of another.
Source: ours; the diagonal of the plane of arXiv:2509.23873, 3.2, in nats on both axes.
Differs: the paper compares min-max scaled perplexity and entropy within a pool, and judges tokens
    by perplexity alone, which prunes what is hard as well as what is wrong.
"""

from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SCORES, SamplePool, TokenPool, TokenSample
from .ranking import keep_highest, keep_lowest_tokens


class Calibrated:
    """Keeps the samples with the lowest mean NLL minus mean entropy."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        return keep_highest(pool.entropy - pool.ppl.log(), args.sample_ratio)


class ConfidentError:
    """Drops the tokens with the highest NLL minus entropy."""

    needs = frozenset({SCORES})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        return keep_lowest_tokens(pool, args.token_ratio, _excess)


def _excess(sample: TokenSample) -> Tensor:
    """NLL minus entropy of each answer token in nats, ``(T,)`` float64."""
    assert sample.nll is not None
    assert sample.entropy is not None
    return sample.nll.double() - sample.entropy.double()
