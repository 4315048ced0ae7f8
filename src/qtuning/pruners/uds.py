"""Sample pruner ``uds``.

What: keeps the samples with rich logits that are unlike those of recently kept samples.
Cost: the scoring pass, with a product of the logits with themselves: T/D of a pass over the head
    for T answer tokens and D hidden units; 4 MiB of memory for the queue, and 5 KiB a sample where
    a run remembers scores (``score_refresh`` below 1, a static scorer).
When: redundant data.
Source: Utility-Diversity Sampling, arXiv:2510.16882.
Differs: logits of answer tokens only, not of prompt and padding; random signs instead of a
    subsampled Fourier transform for the projection, with the published code's scale, which is what
    the weight of 2.5e-3 was set for.
"""

import torch

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import LOGITS, SCORES, SamplePool
from .ranking import keep_highest

_WEIGHT = 2.5e-3
_QUEUE = 1024
_MEMORY = "uds_queue"


class UtilityDiversity:
    """Keeps the highest nuclear norm plus 2.5e-3 times the mean distance to the queue."""

    needs = frozenset({SCORES, LOGITS})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples; the sketches of kept samples replace the oldest of the queue."""
        utility, sketch = pool.extras[LOGITS][:, 0], pool.extras[LOGITS][:, 1:].float()
        queue = pool.memory.get(_MEMORY, sketch[:0])
        diversity = torch.zeros(len(pool), dtype=torch.float64)
        if len(queue):
            diversity = torch.cdist(sketch, queue).mean(1).double()
        selection = keep_highest(utility + _WEIGHT * diversity, args.sample_ratio)
        new_sketches = sketch[selection.kept & utility.isfinite()]
        pool.memory[_MEMORY] = torch.cat([queue, new_sketches])[-_QUEUE:].clone()
        return selection
