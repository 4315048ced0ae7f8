"""Stage 1, samples: the Error-Uncertainty plane (arXiv:2509.23873, 3.2 and Algorithm 1).

x is the perplexity of a sample, y its mean answer entropy. One quantile level ``alpha`` cuts both
axes into low, middle band and high; the corners are the quadrants Q1 to Q4. The level is found by
bisection so that Q2 and Q4 together come near the budget, and the kept set is then made exact.
All of it in float64.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .ratio import keep_count

BAND, Q1, Q2, Q3, Q4 = 0, 1, 2, 3, 4
QUADRANT_NAMES = {
    Q1: "harmful noise",
    Q2: "valuable misconception",
    Q3: "redundant knowledge",
    Q4: "calibration data",
    BAND: "middle band",
}

_HIGHEST_ALPHA = 0.49
_LOW, _MIDDLE, _HIGH = -1, 0, 1
# [error level + 1, uncertainty level + 1] -> quadrant
_QUADRANTS = torch.tensor(
    [[Q3, BAND, Q4], [BAND, BAND, BAND], [Q2, BAND, Q1]], dtype=torch.int64, device="cpu"
)


@dataclass(frozen=True)
class Thresholds:
    """Where the plane is cut: the quantile level and the four values that it gives."""

    alpha: float
    ppl_lo: float
    ppl_hi: float
    ent_lo: float
    ent_hi: float


@dataclass(frozen=True)
class Selection:
    """Which samples of a pool are kept, and why.

    Attributes:
        kept: ``(N,)`` bool.
        quadrant: ``(N,)`` int64, 1 to 4, 0 = middle band (or chosen without the plane).
        filled: ``(N,)`` bool, kept only to reach the budget.
        thresholds: Where the plane was cut; None if it was not.
        rank_correlation: Spearman's rho of perplexity and entropy; NaN where it is undefined.
        side: ``(N,)`` float64, P^ - E^, the signed distance from the diagonal of the normalised
            plane: positive on the side of Q2, negative on that of Q4.
    """

    kept: Tensor
    quadrant: Tensor
    filled: Tensor
    thresholds: Thresholds | None
    rank_correlation: float
    side: Tensor

    @classmethod
    def without_plane(cls, kept: Tensor) -> "Selection":
        """Selection of a pruner that does not look at the plane; ``kept`` is ``(N,)`` bool."""
        return cls(
            kept=kept,
            quadrant=torch.zeros_like(kept, dtype=torch.int64),
            filled=torch.zeros_like(kept),
            thresholds=None,
            rank_correlation=math.nan,
            side=torch.zeros_like(kept, dtype=torch.float64),
        )


def select_samples(
    ppl: Tensor,
    entropy: Tensor,
    sample_ratio: float,
    *,
    bisect_steps: int = 10,
    error_scale: str = "ppl",
) -> Selection:
    """Keep exactly ``max(1, floor(sample_ratio * N))`` samples of a pool (Algorithm 1).

    Samples whose perplexity or entropy is not finite are never kept and do not shape the plane;
    only when fewer finite samples than the budget are left is less than the budget kept.

    Args:
        ppl: Perplexity of each sample, ``(N,)``.
        entropy: Mean answer entropy of each sample in nats, ``(N,)``.
        sample_ratio: Share of the samples to keep, in (0, 1].
        bisect_steps: Steps of the bisection on the quantile level.
        error_scale: Error axis of the support |P^ - E^|: ``"ppl"`` as in the paper, or
            ``"log_ppl"``, which one outlier cannot squash.

    Returns:
        The ``Selection``, on the CPU, in the order of the pool.

    Raises:
        ValueError: Shapes differ, a ratio outside (0, 1], fewer than one bisection step, or an
            unknown scale.
    """
    if ppl.ndim != 1 or ppl.shape != entropy.shape:
        raise ValueError(f"ppl {tuple(ppl.shape)} and entropy {tuple(entropy.shape)} must be (N,)")
    if error_scale not in ("ppl", "log_ppl"):
        raise ValueError(f"error_scale must be 'ppl' or 'log_ppl', got {error_scale!r}")
    if bisect_steps < 1:
        raise ValueError(f"bisect_steps must be at least 1, got {bisect_steps}")
    budget = keep_count(ppl.shape[0], sample_ratio)
    ppl, entropy = ppl.detach().cpu().double(), entropy.detach().cpu().double()
    finite = ppl.isfinite() & entropy.isfinite()
    inner = _select(ppl[finite], entropy[finite], budget, sample_ratio, bisect_steps, error_scale)
    return _spread(inner, finite)


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
        rank_correlation=rank_correlation(ppl, entropy),
        side=side,
    )


def _bisect(
    ppl: Tensor, entropy: Tensor, k: int, ratio: float, steps: int
) -> tuple[Thresholds, Tensor]:
    """The best of ``steps`` iterates: thresholds and quadrants ``(N,)``."""
    n = ppl.shape[0]
    sorted_ppl, sorted_entropy = ppl.sort().values, entropy.sort().values
    low, high = 0.0, _HIGHEST_ALPHA
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
    """Inverse CDF: the smallest value such that at least a fraction ``g`` is not above it."""
    return float(ordered[max(0, math.ceil(g * ordered.shape[0] - 1e-9) - 1)])


def _levels(values: Tensor, lo: float, hi: float) -> Tensor:
    """-1 low, 0 middle, 1 high, inclusive; what is both (ties, small pools) by the midpoint."""
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
    """Min-max normalised to [0, 1]; a constant axis becomes 0.5."""
    low, high = values.min(), values.max()
    if bool(low == high):
        return torch.full_like(values, 0.5)
    return (values - low) / (high - low)


def _spread(inner: Selection, finite: Tensor) -> Selection:
    """Put a selection of the finite samples back into the order of the whole pool."""

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


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's rho of two ``(N,)`` tensors, ties at their mean rank; NaN if one is constant."""
    rx, ry = _mean_ranks(x), _mean_ranks(y)
    rx, ry = rx - rx.mean(), ry - ry.mean()
    scale = float((rx.square().sum() * ry.square().sum()).sqrt())
    return float((rx * ry).sum()) / scale if scale > 0 else math.nan


def _mean_ranks(values: Tensor) -> Tensor:
    _, group, size = torch.unique(values, return_inverse=True, return_counts=True)
    last = size.cumsum(0).double()
    mean_ranks: Tensor = last - (size - 1) / 2
    return mean_ranks[group]
