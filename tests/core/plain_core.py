"""The core written with plain float sorts, one sample at a time: what the fast one is held to.

Figures must come out of ``qtuning.core.plane`` and ``qtuning.core.tokens`` exactly equal.
"""

import math

import torch
from torch import Tensor

from qtuning import Selection, token_scores
from qtuning.core.plane import BAND, Q1, Q2, Q3, Q4, Thresholds
from qtuning.core.ratio import keep_count

_LOW, _MIDDLE, _HIGH = -1, 0, 1
# [error level + 1, uncertainty level + 1] -> quadrant
_QUADRANTS = torch.tensor([[Q3, BAND, Q4], [BAND, BAND, BAND], [Q2, BAND, Q1]], device="cpu")


def plain_select(
    ppl: Tensor, entropy: Tensor, ratio: float, bisect_steps: int = 10, error_scale: str = "ppl"
) -> Selection:
    budget = keep_count(ppl.shape[0], ratio)
    ppl, entropy = ppl.double(), entropy.double()
    finite = ppl.isfinite() & entropy.isfinite()
    inner = _select(ppl[finite], entropy[finite], budget, ratio, bisect_steps, error_scale)

    def whole(values: Tensor) -> Tensor:
        out = torch.zeros_like(finite, dtype=values.dtype)
        out[finite] = values
        return out

    return Selection(
        kept=whole(inner.kept),
        quadrant=whole(inner.quadrant),
        filled=whole(inner.filled),
        thresholds=inner.thresholds,
        rank_correlation=inner.rank_correlation,
        side=whole(inner.side),
    )


def plain_keep_lowest(scores: Tensor, ratio: float, protected: Tensor | None = None) -> Tensor:
    n_kept = keep_count(scores.shape[0], ratio)
    order = torch.sort(scores, stable=True).indices
    keep = torch.zeros(scores.shape[0], dtype=torch.bool)
    if protected is not None:
        keep |= protected
        order = order[~protected[order]]
    keep[order[: max(0, n_kept - int(keep.sum()))]] = True
    return keep


def plain_keep_tokens(
    nll: Tensor, ratio: float, weight: float, mean: bool, protected: Tensor | None = None
) -> Tensor:
    scores = token_scores(nll, neighbor_lambda=weight, neighbor_mean=mean)
    return plain_keep_lowest(scores, ratio, protected)


def _select(
    ppl: Tensor, entropy: Tensor, budget: int, ratio: float, bisect_steps: int, error_scale: str
) -> Selection:
    n = ppl.shape[0]
    if n == 0:
        return Selection.without_plane(torch.zeros_like(ppl, dtype=torch.bool))
    k = min(budget, n)
    thresholds, quadrant = _bisect(ppl, entropy, k, ratio, bisect_steps)
    side = _normalised(ppl.log() if error_scale == "log_ppl" else ppl) - _normalised(entropy)

    named = (quadrant == Q2) | (quadrant == Q4)
    # Sort by support, largest first; a stable sort lets the earlier sample win a tie.
    by_support = torch.sort(side.abs(), descending=True, stable=True).indices
    chosen, others = by_support[named[by_support]], by_support[~named[by_support]]
    kept = torch.zeros_like(ppl, dtype=torch.bool)
    kept[chosen[:k]] = True
    filled = torch.zeros_like(kept)
    filled[others[: max(0, k - chosen.shape[0])]] = True
    return Selection(
        kept=kept | filled,
        quadrant=quadrant,
        filled=filled,
        thresholds=thresholds,
        rank_correlation=plain_rank_correlation(ppl, entropy),
        side=side,
    )


def _bisect(
    ppl: Tensor, entropy: Tensor, k: int, ratio: float, steps: int
) -> tuple[Thresholds, Tensor]:
    n = ppl.shape[0]
    sorted_ppl, sorted_entropy = ppl.sort().values, entropy.sort().values
    low, high = 0.0, 0.49
    best: tuple[int, int] | None = None
    best_cut: tuple[Thresholds, Tensor] | None = None
    for _ in range(steps):
        alpha = (low + high) / 2
        cut = Thresholds(
            alpha=alpha,
            ppl_lo=_quantile(sorted_ppl, alpha),
            ppl_hi=_quantile(sorted_ppl, 1 - alpha),
            ent_lo=_quantile(sorted_entropy, alpha),
            ent_hi=_quantile(sorted_entropy, 1 - alpha),
        )
        quadrant = _quadrants(ppl, entropy, cut)
        count = int(((quadrant == Q2) | (quadrant == Q4)).sum())
        # The count is a step function of alpha, so the last midpoint may lie on the wrong side of
        # a jump: remember the nearest, on a tie the fuller, then the later.
        rank = (-abs(count - k), count)
        if best is None or rank >= best:
            best, best_cut = rank, (cut, quadrant)
        if count / n < ratio:
            low = alpha
        else:
            high = alpha
    assert best_cut is not None  # steps >= 1
    return best_cut


def _quantile(ordered: Tensor, g: float) -> float:
    return float(ordered[max(0, math.ceil(g * ordered.shape[0] - 1e-9) - 1)])


def _levels(values: Tensor, lo: float, hi: float) -> Tensor:
    is_low, is_high = values <= lo, values >= hi
    both = is_low & is_high
    above = values > (hi + lo) / 2
    levels = torch.full_like(values, _MIDDLE, dtype=torch.int64)
    levels[is_low & (~both | ~above)] = _LOW
    levels[is_high & (~both | above)] = _HIGH
    return levels


def _quadrants(ppl: Tensor, entropy: Tensor, cut: Thresholds) -> Tensor:
    error = _levels(ppl, cut.ppl_lo, cut.ppl_hi)
    uncertainty = _levels(entropy, cut.ent_lo, cut.ent_hi)
    return _QUADRANTS[error + 1, uncertainty + 1]


def _normalised(values: Tensor) -> Tensor:
    low, high = values.min(), values.max()
    if bool(low == high):
        return torch.full_like(values, 0.5)
    return (values - low) / (high - low)


def plain_rank_correlation(x: Tensor, y: Tensor) -> float:
    rx, ry = _mean_ranks(x), _mean_ranks(y)
    rx, ry = rx - rx.mean(), ry - ry.mean()
    scale = float((rx.square().sum() * ry.square().sum()).sqrt())
    return float((rx * ry).sum()) / scale if scale > 0 else math.nan


def _mean_ranks(values: Tensor) -> Tensor:
    _, group, size = torch.unique(values, return_inverse=True, return_counts=True)
    last = size.cumsum(0).double()
    mean_ranks: Tensor = last - (size - 1) / 2
    return mean_ranks[group]
