"""Token pruners ``rho-1`` and ``token-cleaning``.

What: keeps the tokens on which the model does worse than a reference model, ranked over all kept
    samples of the step.
Cost: a forward of what is kept with the model, and once with the reference model, which also needs
    its own memory.
When: a reference model that has learnt from clean data is at hand.
Source: Rho-1, arXiv:2404.07965; Token Cleaning, arXiv:2502.01968.
Differs: the originals keep 0.6 to 0.7; here ``token_ratio`` tells. The two differ by their
    reference: a model of good data (rho-1), or the model itself after a warm-up on a part of the
    data (token-cleaning); either way name it as ``reference_model_name_or_path``.
"""

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.ratio import keep_count
from .protocols import REFERENCE, SCORES, TokenPool, TokenSample, seeded_generator


class ExcessLoss:
    """Keeps the highest ``nll - nll_reference`` of the step, over all samples and ranks."""

    needs = frozenset({SCORES, REFERENCE})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` of all T answer tokens, protected ones first."""
        own = [
            # Ties are broken by name and place, which are the same however many ranks there are.
            (-score, _number(sample.sample_id), float(place))
            for sample in pool.samples
            for place, score in enumerate(_excess(sample).tolist())
        ]
        columns = [pool.gather([row[i] for row in own]) for i in range(3)]
        everybodys = list(zip(*columns, strict=True))
        protected = pool.gather([float(sample.protected.sum()) for sample in pool.samples])
        if not own:
            return []
        n = max(keep_count(len(everybodys), args.token_ratio), int(sum(protected)))
        last = sorted(everybodys)[n - 1]
        kept = torch.tensor([row <= last for row in own])
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
