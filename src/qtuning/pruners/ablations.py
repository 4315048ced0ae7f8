"""Q-Tuning with a part of it changed: the paper's ablations (arXiv:2509.23873, 4.3).

Not registered: name them as ``qtuning.pruners.ablations:KeepQ1``. One rule of Q-Tuning is replaced
in each. Without neighbours is ``neighbor_lambda`` 0; tokens of Q4 pruned as well is the token
pruner ``ppl-neighbor``.
"""

from dataclasses import replace

import torch
from torch import Tensor

from ..arguments import PruningArguments
from ..core.plane import Q1, Q2, Q3, Q4, Selection, select_samples
from ..core.tokens import keep_lowest, token_scores
from .protocols import QUADRANTS, SCORES, SamplePool, TokenPool
from .q_tuning import QTuningTokens
from .ranking import keep_highest, minmax


class _KeepOne:
    """Keeps one quadrant, made exactly k as in the paper: by a support, here of its own."""

    needs = frozenset({SCORES})
    quadrant: int

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N``."""
        selection = select_samples(
            pool.ppl, pool.entropy, args.sample_ratio, bisect_steps=args.bisect_steps
        )
        named = selection.quadrant == self.quadrant
        support = self.support(pool, selection) + 10.0 * named  # a support is at most 2
        kept = keep_highest(support, args.sample_ratio).kept
        return replace(selection, kept=kept, filled=kept & ~named)

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """How much a sample resembles the quadrant, ``(N,)``."""
        raise NotImplementedError


class KeepQ1(_KeepOne):
    """Keeps harmful noise in place of Q2 and Q4: what is high on both axes."""

    quadrant = Q1

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Height along the diagonal."""
        return _height(pool)


class KeepQ3(_KeepOne):
    """Keeps redundant knowledge in place of Q2 and Q4: what is low on both axes."""

    quadrant = Q3

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Depth along the diagonal."""
        return -_height(pool)


class OnlyQ2(_KeepOne):
    """Keeps valuable misconceptions alone: the side P^ > E^."""

    quadrant = Q2

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Signed distance from the diagonal."""
        return selection.side


class OnlyQ4(_KeepOne):
    """Keeps calibration data alone: the side P^ < E^."""

    quadrant = Q4

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Signed distance from the diagonal."""
        return -selection.side


class Reversed:
    """Prunes the tokens of Q2 samples in the reversed order: keeps the highest smoothed scores."""

    needs = frozenset({SCORES, QUADRANTS})

    def __call__(self, pool: TokenPool, args: PruningArguments) -> list[Tensor]:
        """Keep ``max(1, floor(token_ratio * T))`` tokens of each sample that Q-Tuning prunes."""
        keeps = QTuningTokens()(pool, args)
        for i, sample in enumerate(pool.samples):
            if sample.nll is not None and not bool(keeps[i].all()):
                scores = token_scores(
                    sample.nll,
                    neighbor_lambda=args.neighbor_lambda,
                    neighbor_mean=args.neighbor_mean,
                )
                keeps[i] = keep_lowest(-scores, args.token_ratio, sample.protected)
        return keeps


def _height(pool: SamplePool) -> Tensor:
    """Sum of both axes, each scaled to [0, 1] over the pool; NaN where a loss is bad."""
    good = pool.ppl.isfinite() & pool.entropy.isfinite()
    height = torch.full_like(pool.ppl, torch.nan)
    if bool(good.any()):
        height[good] = minmax(pool.ppl[good].log()) + minmax(pool.entropy[good])
    return height
