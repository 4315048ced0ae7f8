"""Sample pruner and token pruner ``q-tuning``, with every switch of the config.

What: keeps confident errors (Q2) with their worst tokens pruned, and uncertain successes (Q4).
Cost: the scoring pass.
When: the model can nearly do the task; a weaker one cannot tell noise from what it has to learn.
Source: arXiv:2509.23873, 3.2, 3.3 and Algorithm 1.
Differs: the pool is the whole optimizer step unless ``pool_scope`` says micro; the tokens
    that end a turn keep their label unless ``protect_eos`` is off. ``entropy_over``,
    ``token_budget`` and ``token_rule`` are switches for what a public snapshot of September 2025
    and the paper's text compute otherwise, as docs/as-released.md says; examples/as_released.yaml
    puts them together. With a budget for the pool an answer can lose all its tokens; by the AND
    rule at most half, so that ``token_ratio`` is the least that is kept.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import BAND, Q2, Selection, select_samples
from ..core.tokens import detrimental_tokens
from .pool_budget import keep_within_budget
from .protocols import QUADRANTS, SCORES, SamplePool, TokenPool, TokenSample
from .token_ppl import keep_least_surprising


class QTuningSamples:
    """Stage 1: keeps Q2 and Q4 of the Error-Uncertainty plane, trimmed or filled up to k."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples, see ``plane.select_samples``."""
        return select_samples(
            pool.ppl,
            pool.entropy,
            args.sample_ratio,
            bisect_steps=args.bisect_steps,
            error_scale=args.error_scale,
        )


class QTuningTokens:
    """Stage 2: prunes the tokens of Q2 samples; Q4 and filled samples stay whole.

    ``fill_tokens="side"`` prunes filled samples on Q2's side of the diagonal (P^ > E^) as well.
    A sample from a pruner without a plane has no quadrant; its tokens are pruned. With
    ``token_rule="and"`` a pruned sample loses none but ``tokens.detrimental_tokens``, the highest
    score first, and no more than the budget asks for.
    """

    needs = frozenset({SCORES, QUADRANTS})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep the lowest smoothed scores, within a budget for each sample or for the pool.

        ``token_budget="sample"`` keeps ``max(1, floor(token_ratio * T))`` tokens of each pruned
        sample; for ``"pool"`` see ``pool_budget.keep_within_budget``.
        """
        samples = [_by_rule(sample, args) for sample in pool.samples]
        is_pruned = [_is_pruned(sample, args) for sample in samples]
        if args.token_budget == "pool":
            prunable = [
                ~one.protected
                if pruned and one.nll is not None
                else torch.zeros_like(one.protected)
                for one, pruned in zip(samples, is_pruned, strict=True)
            ]
            return keep_within_budget(pool, prunable, args)
        keeps = [torch.ones(sample.n_tokens, dtype=torch.bool) for sample in samples]
        indices = [i for i, pruned in enumerate(is_pruned) if pruned]
        masks = keep_least_surprising(
            [samples[i] for i in indices], args, neighbor_lambda=args.neighbor_lambda
        )
        for i, mask in zip(indices, masks, strict=True):
            keeps[i] = mask
        return keeps


def _by_rule(sample: TokenSample, args: PruningArguments) -> TokenSample:
    """The sample; by the AND rule all tokens are protected but the detrimental ones."""
    if args.token_rule == "score" or sample.nll is None:
        return sample
    return replace(sample, protected=sample.protected | ~detrimental_tokens(sample.nll))


def _is_pruned(sample: TokenSample, args: PruningArguments) -> bool:
    """Whether the tokens of a kept sample are pruned."""
    if sample.filled:
        return args.fill_tokens == "side" and sample.side > 0
    return sample.quadrant in (Q2, BAND)
