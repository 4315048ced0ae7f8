"""Token pruner ``ss-token``.

What: keeps the tokens that the model has learnt since the start and that look at the prompt.
Cost: a forward of what is kept with the model, with one layer's attention, and once with the model
    as it was before training: LoRA contains that model, full fine-tuning keeps a copy. Adapters
    that are trained already or change the base weights (PiSSA, OLoRA) do not contain it.
When: no reference model is available.
Source: ssToken, arXiv:2510.18250.
Differs: the budget is rounded down as for all pruners here, not up; the original's ratio is 0.6.
    ``reference_model_name_or_path`` may name another base, and must where adapters do not contain
    the model before training.
"""

from torch import Tensor

from ..arguments import PruningArguments
from .protocols import BASE, PROMPT_ATTENTION, REFERENCE, SCORES, TokenPool, TokenSample
from .ranking import keep_lowest_tokens, minmax

_GAMMA = 0.5


class SelfModulatedSemantic:
    """Keeps the highest mean of progress and attention to the prompt, each scaled to [0, 1]."""

    needs = frozenset({SCORES, BASE, PROMPT_ATTENTION})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        return keep_lowest_tokens(pool, args.token_ratio, _demerit)


def _demerit(sample: TokenSample) -> Tensor:
    """Negative mean of progress since the start and attention to the prompt, ``(T,)``."""
    assert sample.nll is not None
    progress = minmax(sample.extras[REFERENCE] - sample.nll)
    return -(_GAMMA * progress + (1 - _GAMMA) * minmax(sample.extras[PROMPT_ATTENTION]))
