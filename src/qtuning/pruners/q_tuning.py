"""Q-Tuning (arXiv:2509.23873): both stages as pruners, with every switch of the config."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..plane import BAND, Q2, Selection, select_samples
from ..tokens import keep_tokens_many
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
        keep = [torch.ones(sample.n_tokens, dtype=torch.bool) for sample in pool.samples]
        nll = {
            i: sample.nll
            for i, sample in enumerate(pool.samples)
            if sample.nll is not None and _is_pruned(sample, args)
        }
        if not nll:
            return keep
        lengths = [len(one) for one in nll.values()]
        masks = keep_tokens_many(
            torch.cat(list(nll.values())),
            lengths,
            args.token_ratio,
            neighbor_lambda=args.neighbor_lambda,
            neighbor_mean=args.neighbor_mean,
            protected=torch.cat([pool.samples[i].protected for i in nll]),
        ).split(lengths)
        for i, mask in zip(nll, masks, strict=True):
            keep[i] = mask
        return keep


def _is_pruned(sample: TokenSample, args: "PruningArguments") -> bool:
    if sample.filled:
        return args.fill_tokens == "side" and sample.side > 0
    return sample.quadrant in (Q2, BAND)
