"""Sample pruner ``full`` and token pruner ``none``.

What: keeps all samples, or all tokens.
Cost: that of a full run.
When: as the run that all others are compared with.
Source: plain supervised fine-tuning.
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
        """Keep all ``N`` samples."""
        return Selection.without_plane(torch.ones(len(pool), dtype=torch.bool))


class NoTokenPruning:
    """Keeps every answer token, whatever the ratio."""

    needs: frozenset[str] = frozenset()

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep all ``T`` tokens of each sample."""
        return [torch.ones(sample.n_tokens, dtype=torch.bool) for sample in pool.samples]
