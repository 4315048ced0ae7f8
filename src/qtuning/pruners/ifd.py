"""Sample pruner ``ifd``.

What: keeps the samples whose prompt helps with the answer, but as little as possible.
Cost: the scoring pass, and a second one over the answers without their prompts.
When: instruction data with answers that have little to do with the question.
Source: instruction-following difficulty, From Quantity to Quality, arXiv:2308.12032.
Differs: the original scores once with a model warmed up on a thousand samples; here the model being
    trained scores each pool. The answer without its prompt stands behind the last token of the
    prompt, in place of the original's heading of the response. Samples whose prompt hurts (ratio
    above 1) are dropped; they come back, nearest to 1 first, where fewer than k are left.
"""

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SCORES, WITHOUT_PROMPT, SamplePool
from .ranking import keep_first, order_up_to_one


class InstructionFollowingDifficulty:
    """Keeps the samples with the highest ratio, up to 1, of NLL with the prompt to NLL without."""

    needs = frozenset({SCORES, WITHOUT_PROMPT})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``; samples without a prompt have no ratio and come last."""
        nll_alone, nll_after_prompt = pool.extras[WITHOUT_PROMPT].unbind(1)
        return keep_first(order_up_to_one(nll_after_prompt / nll_alone, pool), args.sample_ratio)
