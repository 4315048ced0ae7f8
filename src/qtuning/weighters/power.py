"""Token weighter ``power``.

What: trains on (1 - p^q) / q in place of -log p, p the token's probability and q ``power_q``: the
    gradient is that of the NLL times p^q. q = 0 is the NLL, q = 1 is 1 - p. With ``power_tau`` and
    ``power_side`` only tokens with p at or above tau, or at or below it, have a loss. Divided by
    the number of kept tokens, those beyond tau among them. The loss that is logged is the published
    one.
Cost: none; p comes from the training forward.
When: q = 1 or more where the model has a strong prior, q = 0 where it is weak.
Source: Beyond Log Likelihood, arXiv:2510.00526.
Differs: nothing in the rule. q = 1 has the gradient of ``dft``, and another loss.
"""

import torch

from ..arguments import PruningArguments
from .protocols import NLL, TokenBatch, Weighed


class Power:
    """p^q, the gradient's factor of the loss (1 - p^q) / q, where p lies on the chosen side."""

    needs = frozenset({NLL})

    def __call__(self, tokens: TokenBatch, args: PruningArguments) -> Weighed:
        """Weigh tokens by a power of their probability."""
        assert tokens.nll is not None
        q, p = args.power_q, (-tokens.nll).exp()
        weights = (-q * tokens.nll).exp()
        # expm1: 1 - p^q of a small q would be lost to rounding.
        losses = tokens.nll if q == 0.0 else -torch.expm1(-q * tokens.nll) / q
        counts = (p >= args.power_tau) if args.power_side == "above" else (p <= args.power_tau)
        counts |= p.isnan()  # a bad loss must be seen
        return Weighed(weights.where(counts, 0.0), losses.where(counts, 0.0))
