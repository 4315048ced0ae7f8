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

from collections.abc import Sequence

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.ratio import keep_count
from ..core.seeds import seeded_generator
from .protocols import REFERENCE, SCORES, TokenPool, TokenSample
from .ranking import nth, up_to


class ExcessLoss:
    """Keeps the tokens with the highest ``nll - nll_reference`` of the step, over all ranks."""

    needs = frozenset({SCORES, REFERENCE})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` of all T answer tokens, protected ones first."""
        excess = torch.cat([torch.zeros(0), *map(_excess, pool.samples)])
        numbers = [_number(sample.sample_id) for sample in pool.samples]
        counts = [float(sample.n_tokens) for sample in pool.samples]
        protected_counts = [float(sample.protected.sum()) for sample in pool.samples]
        keys = _keys(excess, numbers, counts)
        keys_of_all = _keys(
            torch.tensor(pool.gather(excess.tolist()), dtype=torch.float64),
            pool.gather(numbers),
            pool.gather(counts),
        )
        n_protected = int(sum(pool.gather(protected_counts)))
        if not pool.samples:
            return []
        n = max(keep_count(keys_of_all.shape[1], args.token_ratio), n_protected)
        kept = up_to(keys, nth(keys_of_all, n))
        return list(kept.split([sample.n_tokens for sample in pool.samples]))


def _excess(sample: TokenSample) -> Tensor:
    """Excess loss in nats, ``(T,)``; infinite where protected."""
    if sample.nll is None:
        return torch.zeros(sample.n_tokens)
    excess = sample.nll - sample.extras[REFERENCE]
    return excess.nan_to_num(nan=-torch.inf).masked_fill(sample.protected, torch.inf)


def _keys(excess: Tensor, numbers: Sequence[float], counts: Sequence[float]) -> Tensor:
    """What tokens are ranked by, one key after the other: ``(3, T)`` float64, the lowest first.

    Ties are broken by sample and place, which do not depend on the number of ranks.

    Args:
        excess: Excess loss of each token, sample after sample, ``(T,)``.
        numbers: Number of each sample.
        counts: Number of tokens of each sample.
    """
    sizes = torch.tensor(counts, dtype=torch.int64)
    starts = (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
    number = torch.tensor(numbers, dtype=torch.float64).repeat_interleave(sizes)
    return torch.stack([-excess.double(), number, torch.arange(len(excess)) - starts])


def _number(name: str) -> float:
    """A number in [0, 1) that depends on the name alone."""
    return float(torch.rand((), generator=seeded_generator(name), dtype=torch.float64))
