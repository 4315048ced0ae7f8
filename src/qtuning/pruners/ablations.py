"""Q-Tuning with a part of it changed: the paper's ablations (arXiv:2509.23873, 4.3).

These pruners are not registered: name one as ``qtuning.pruners.ablations:KeepQ1``. Each replaces
one rule of Q-Tuning. Two ablations need no class: ``neighbor_lambda`` 0 leaves out the neighbours,
and the token pruner ``ppl-neighbor`` prunes the tokens of Q4 as well.
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
    """Keeps one quadrant, trimmed or filled up to exactly k samples by a support of its own."""

    needs = frozenset({SCORES})
    quadrant: int

    def __call__(self, pool: SamplePool, args: PruningArguments) -> Selection:
        """Keep k of ``N`` samples."""
        selection = select_samples(
            pool.ppl, pool.entropy, args.sample_ratio, bisect_steps=args.bisect_steps
        )
        in_quadrant = selection.quadrant == self.quadrant
        support = self.support(pool, selection) + 10.0 * in_quadrant  # any support is at most 2
        kept = keep_highest(support, args.sample_ratio).kept
        return replace(selection, kept=kept, filled=kept & ~in_quadrant)

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """How much a sample resembles the quadrant, ``(N,)``."""
        raise NotImplementedError


class KeepQ1(_KeepOne):
    """Keeps harmful noise in place of Q2 and Q4: what is high on both axes."""

    quadrant = Q1

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Position along the diagonal: high where both axes are."""
        return _height(pool)


class KeepQ3(_KeepOne):
    """Keeps redundant knowledge in place of Q2 and Q4: what is low on both axes."""

    quadrant = Q3

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Negative position along the diagonal: high where both axes are low."""
        return -_height(pool)


class OnlyQ2(_KeepOne):
    """Keeps valuable misconceptions alone: the side P^ > E^."""

    quadrant = Q2

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Signed distance from the diagonal, positive on the side of Q2."""
        return selection.side


class OnlyQ4(_KeepOne):
    """Keeps calibration data alone: the side P^ < E^."""

    quadrant = Q4

    def support(self, pool: SamplePool, selection: Selection) -> Tensor:
        """Signed distance from the diagonal, positive on the side of Q4."""
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
    """Sum of both axes, each scaled to [0, 1] over the pool; NaN where one is not finite."""
    finite = pool.ppl.isfinite() & pool.entropy.isfinite()
    height = torch.full_like(pool.ppl, torch.nan)
    if bool(finite.any()):
        height[finite] = minmax(pool.ppl[finite].log()) + minmax(pool.entropy[finite])
    return height
