"""Token weighter ``dft``.

What: weighs each token by the probability p that the model gives it: w = p, without a gradient of
    its own. Divided by the number of kept tokens.
Cost: none; p comes from the training forward.
When: the model has a strong prior (mathematics, code) and answers hold tokens that it finds
    improbable.
Source: Dynamic Fine-Tuning, arXiv:2508.05629.
Differs: nothing in the rule; it is TRL's ``loss_type="dft"``, behind any pruner.
"""

from torch import Tensor

from ..arguments import PruningArguments
from .protocols import NLL, TokenBatch


class DynamicFineTuning:
    """The token's probability p."""

    needs = frozenset({NLL})

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Tensor:
        """Weigh tokens by their probability."""
        assert tokens.nll is not None
        return (-tokens.nll).exp()
