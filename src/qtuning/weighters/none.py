"""Token weighter ``none``.

What: weighs every kept token alike: the plain loss, divided by the number of kept tokens. The
    default.
Cost: none; the loss is the trainer's own.
When: always a baseline.
Source: -
Differs: nothing to differ from.
"""

import torch
from torch import Tensor

from ..arguments import PruningArguments
from .protocols import TokenBatch


class NoTokenWeights:
    """1 for every token."""

    needs: frozenset[str] = frozenset()

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Tensor:
        """Weigh every token 1."""
        return torch.ones(len(tokens))
