"""Sample pruner and token pruner ``random``.

What: keeps a uniform draw of samples, or of the tokens of each kept sample.
Cost: nothing: no scoring pass.
When: always, as a baseline next to other pruners.
Source: the baseline of arXiv:2509.23873 and of every other paper.
Differs: in nothing; seeded by (seed, step, pool), or by (seed, sample id, step).
"""

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Selection
from ..core.ratio import keep_count
from ..core.seeds import seeded_generator
from ..core.tokens import keep_lowest
from .protocols import SamplePool, TokenPool


class RandomSamples:
    """Keeps a uniform draw of exactly k samples, seeded by (seed, step, pool)."""

    needs: frozenset[str] = frozenset()

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        n = len(pool)
        kept = torch.zeros(n, dtype=torch.bool)
        order = torch.randperm(n, generator=pool.generator())
        kept[order[: keep_count(n, args.sample_ratio)]] = True
        return Selection.without_plane(kept)


class RandomTokens:
    """Keeps a uniform draw of the tokens of each sample, seeded by (seed, sample id, step)."""

    needs: frozenset[str] = frozenset()

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample."""
        masks = []
        for sample in pool.samples:
            generator = seeded_generator(pool.seed, sample.sample_id, pool.step)
            scores = torch.rand(sample.n_tokens, generator=generator)
            masks.append(keep_lowest(scores, args.token_ratio, sample.protected))
        return masks
