"""Q-Tuning (arXiv:2509.23873): both stages as pruners, with every switch of the config."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..plane import BAND, Q2, Selection, select_samples
from ..tokens import keep_tokens
from .base import QUADRANTS, SCORES, SamplePool, TokenPool, TokenSample

if TYPE_CHECKING:
    from ..config import PruningArguments


class QTuningSamples:
    """Stage 1: keeps Q2 and Q4 of the Error-Uncertainty plane, made exactly k."""

    needs = frozenset({SCORES})

    def __call__(self, pool: SamplePool, args: "PruningArguments") -> Selection:
        """See ``plane.select_samples``."""
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
    A sample chosen by a pruner that does not look at the plane has no quadrant; it is pruned.
    """

    needs = frozenset({SCORES, QUADRANTS})

    def __call__(self, pool: TokenPool, args: "PruningArguments") -> list[Tensor]:
        """Keep the ``max(1, floor(token_ratio * T))`` lowest smoothed scores of those samples."""
        return [_keep(sample, args) for sample in pool.samples]


def _keep(sample: TokenSample, args: "PruningArguments") -> Tensor:
    if sample.filled:
        pruned = args.fill_tokens == "side" and sample.side > 0
    else:
        pruned = sample.quadrant in (Q2, BAND)
    if not pruned or sample.nll is None:
        return torch.ones(sample.n_tokens, dtype=torch.bool)
    return keep_tokens(
        sample.nll,
        args.token_ratio,
        neighbor_lambda=args.neighbor_lambda,
        neighbor_mean=args.neighbor_mean,
        protected=sample.protected,
    )
