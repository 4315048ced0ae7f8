"""Token pruners ``rho-1`` and ``token-cleaning``.

What: keeps the tokens on which the model does worse than a reference model, ranked over all kept
    samples of the step.
Cost: a forward of what is kept with the model, and once with the reference model, which also needs
    its own memory.
When: a reference model that has learnt from clean data is available.
Source: Rho-1, arXiv:2404.07965; Token Cleaning, arXiv:2502.01968.
Differs: the originals keep 0.6 to 0.7 of the tokens, here ``token_ratio`` sets the share. The two
    pruners differ in the reference to name as ``reference_model_name_or_path``: a model of good
    data (rho-1), or the model itself after a warm-up on a part of the data (token-cleaning).
"""

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.ratio import keep_count
from ..core.seeds import seeded_generator
from .protocols import REFERENCE, SCORES, TokenPool, TokenSample


class ExcessLoss:
    """Keeps the tokens with the highest ``nll - nll_reference`` of the step, over all ranks."""

    needs = frozenset({SCORES, REFERENCE})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` of all T answer tokens, protected ones first."""
        rows = [
            # Ties are broken by id and place, which do not depend on the number of ranks.
            (-score, _number(sample.sample_id), float(place))
            for sample in pool.samples
            for place, score in enumerate(_excess(sample).tolist())
        ]
        columns = [pool.gather([row[i] for row in rows]) for i in range(3)]
        all_rows = list(zip(*columns, strict=True))
        protected_counts = pool.gather([float(sample.protected.sum()) for sample in pool.samples])
        if not rows:
            return []
        n = max(keep_count(len(all_rows), args.token_ratio), int(sum(protected_counts)))
        threshold = sorted(all_rows)[n - 1]
        kept = torch.tensor([row <= threshold for row in rows])
        return list(kept.split([sample.n_tokens for sample in pool.samples]))


def _excess(sample: TokenSample) -> Tensor:
    """Excess loss in nats, ``(T,)``; infinite where protected."""
    if sample.nll is None:
        return torch.zeros(sample.n_tokens)
    excess = sample.nll - sample.extras[REFERENCE]
    return excess.nan_to_num(nan=-torch.inf).masked_fill(sample.protected, torch.inf)


def _number(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return float(torch.rand((), generator=seeded_generator(name), dtype=torch.float64))
