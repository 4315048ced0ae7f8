"""Token weighter ``eaft``.

What: weighs each token by the entropy H of the model's 20 highest logits, renormalised: improbable
    tokens where the model is sure (confident conflicts) count little. ``eaft_form`` paper is
    w = (H / ln 20)^alpha, llamafactory w = (H / 3)^alpha, axolotl w = H^alpha, where alpha is
    ``eaft_exponent``. Divided by the number of kept tokens.
Cost: the 20 highest logits of each token of the training forward.
When: the model shall keep what it can do. Samples full of tokens that this weighs least are those
    that Q-Tuning looks for (quadrant Q2): with both, they are kept and then weighed down.
Source: Entropy-Adaptive Fine-Tuning, arXiv:2601.02151.
Differs: the paper has no alpha. A vocabulary of fewer than 20 has that many logits, and the paper's
    form divides by their logarithm. Axolotl adds 1e-10 to each probability before its logarithm,
    which changes the seventh digit.
"""

import math

from torch import Tensor

from ..arguments import PruningArguments
from .protocols import TOP, TokenBatch


class EntropyAdaptive:
    """The entropy of the 20 highest logits, scaled as ``eaft_form`` says."""

    needs = frozenset({TOP})

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Tensor:
        """Weigh tokens by the entropy of the most probable candidates."""
        assert tokens.top is not None
        log_p = tokens.top.log_softmax(-1)  # (T, 20)
        # exp(-200) is 0 in float32; clamping there keeps 0 * -inf out of the sum, and NaN in it.
        entropy = -(log_p.exp() * log_p.clamp(min=-200.0)).sum(-1)
        divisor = {
            "paper": math.log(max(2, tokens.top.shape[1])),
            "llamafactory": 3.0,
            "axolotl": 1.0,
        }[args.eaft_form]
        # Rounding may leave -1e-9, of which there is no root.
        weights: Tensor = (entropy.clamp(min=0.0) / divisor) ** args.eaft_exponent
        return weights
