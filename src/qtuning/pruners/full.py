"""Sample pruner ``full`` and token pruner ``none``.

What: keeps all samples, all tokens.
Cost: that of a full run.
When: to have the run that everything is compared with.
Source: supervised fine-tuning as it is.
Differs: in nothing; losses are those of the stock trainer, bit for bit.
"""

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from .protocols import SamplePool, TokenPool


class FullSamples:
    """Keeps every sample, whatever the ratio: full-data fine-tuning."""

    needs: frozenset[str] = frozenset()

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep all ``N``."""
        return Selection.without_plane(torch.ones(len(pool), dtype=torch.bool))


class NoTokenPruning:
    """Keeps every answer token, whatever the ratio."""

    needs: frozenset[str] = frozenset()

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep all ``T`` of each sample."""
        return [torch.ones(sample.n_tokens, dtype=torch.bool) for sample in pool.samples]
