"""Q-Tuning with a part of it changed: the paper's ablations (arXiv:2509.23873, 4.3).

Not registered: name them as ``qtuning.pruners.ablations:KeepQ1``. One rule of Q-Tuning is replaced
in each. Without neighbours is ``neighbor_lambda`` 0; tokens of Q4 pruned as well is the token
pruner ``ppl-neighbor``.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ..plane import Q1, Q2, Q3, Q4, Selection, select_samples
from ..tokens import keep_lowest, token_scores
from .base import QUADRANTS, SCORES, SamplePool, TokenPool
from .q_tuning import QTuningTokens
from .ranking import keep_highest

if TYPE_CHECKING:
    from ..config import PruningArguments


class _Keep:
    """Keeps the quadrants named, made exactly k as in the paper, by another support."""

    needs = frozenset({SCORES})
    quadrants: tuple[int, ...] = ()
    sign = 1.0
    """1 ranks what is high on both axes first, -1 what is low."""

    def __call__(self, pool: SamplePool, args: "PruningArguments") -> Selection:
        selection = select_samples(
            pool.ppl, pool.entropy, args.sample_ratio, bisect_steps=args.bisect_steps
        )
        named = torch.zeros_like(selection.kept)
        for quadrant in self.quadrants:
            named |= selection.quadrant == quadrant
        height = _scaled(pool.ppl.log()) + _scaled(pool.entropy)
        kept = keep_highest(self.sign * height + 10.0 * named, args.sample_ratio).kept
        return replace(selection, kept=kept, filled=kept & ~named)


class KeepQ1(_Keep):
    """Keeps harmful noise in place of Q2 and Q4."""

    quadrants = (Q1,)


class KeepQ3(_Keep):
    """Keeps redundant knowledge in place of Q2 and Q4."""

    quadrants = (Q3,)
    sign = -1.0


class OnlyQ2(_Keep):
    """Keeps valuable misconceptions alone: the side P^ > E^."""

    quadrants = (Q2,)

    def __call__(self, pool: SamplePool, args: "PruningArguments") -> Selection:
        """Keep k of ``N``, by the signed distance from the diagonal."""
        return _one_side(pool, args, Q2, 1.0)


class OnlyQ4(_Keep):
    """Keeps calibration data alone: the side P^ < E^."""

    quadrants = (Q4,)

    def __call__(self, pool: SamplePool, args: "PruningArguments") -> Selection:
        """Keep k of ``N``, by the signed distance from the diagonal."""
        return _one_side(pool, args, Q4, -1.0)


class Reversed:
    """Prunes the tokens of Q2 samples in the reversed order: keeps the highest smoothed scores."""

    needs = frozenset({SCORES, QUADRANTS})

    def __call__(self, pool: TokenPool, args: "PruningArguments") -> list[Tensor]:
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


def _one_side(pool: SamplePool, args: "PruningArguments", quadrant: int, sign: float) -> Selection:
    selection = select_samples(
        pool.ppl, pool.entropy, args.sample_ratio, bisect_steps=args.bisect_steps
    )
    named = selection.quadrant == quadrant
    kept = keep_highest(sign * selection.side + 10.0 * named, args.sample_ratio).kept
    return replace(selection, kept=kept, filled=kept & ~named)


def _scaled(values: Tensor) -> Tensor:
    low, high = values.nan_to_num(nan=0.0).min(), values.nan_to_num(nan=0.0).max()
    return (values - low) / (high - low).clamp(min=1e-12)
