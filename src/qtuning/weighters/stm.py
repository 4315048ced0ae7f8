"""Token weighter ``stm``.

What: masks the tokens whose perplexity under the model before training is above ``stm_threshold``:
    weight 0, all others 1. Divided by the number of tokens with weight 1.
Cost: a forward of each kept sample with the model before training, once: LoRA contains that model,
    full fine-tuning keeps a copy. Adapters that are trained already or change the base weights
    (PiSSA, OLoRA) do not contain it.
When: the model shall not forget, and answers come from elsewhere (people, other models).
Source: Selective Token Masking, arXiv:2501.14315.
Differs: ``reference_model_name_or_path`` may name another model. The tokens stay in the input, as
    there.
"""

import math

from ..arguments import PruningArguments
from ..pruners.protocols import BASE
from .protocols import TokenBatch, Weighed


class SelectiveMasking:
    """1 where the model before training is not surprised, else 0."""

    needs = frozenset({BASE})

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Weighed:
        """Mask tokens of high perplexity."""
        assert tokens.base_nll is not None
        # In this order, a NaN is masked.
        low = tokens.base_nll <= math.log(args.stm_threshold)
        return Weighed(low.float(), masks=True)
