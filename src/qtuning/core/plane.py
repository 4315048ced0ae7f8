"""Stage 1, samples: the Error-Uncertainty plane (arXiv:2509.23873, 3.2 and Algorithm 1).

x is the perplexity of a sample, y its mean answer entropy. One quantile level ``alpha`` cuts both
axes into low, middle band and high; the corners are the quadrants Q1 to Q4. The level is found by
bisection so that Q2 and Q4 together come near the budget; the kept set is then trimmed or filled up
to the exact budget. All computations are in float64.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from .order import argsort
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


@dataclass(frozen=True)
class Thresholds:
    """Where the plane is cut: the quantile level and the two quantiles of each axis.

    Attributes:
        alpha: Quantile level, below 0.5.
        ppl_lo: Quantile ``alpha`` of perplexity.
        ppl_hi: Quantile ``1 - alpha`` of perplexity.
        ent_lo: Quantile ``alpha`` of mean answer entropy, in nats.
        ent_hi: Quantile ``1 - alpha`` of mean answer entropy, in nats.
    """

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
        thresholds: Where the plane was cut; None without a plane.
        rank_correlation: Spearman's rho of perplexity and entropy; NaN where it is undefined.
        side: ``(N,)`` float64, P^ - E^, the signed distance from the diagonal of the normalised
            plane: positive on the side of Q2, negative on that of Q4.
        weight: ``(N,)`` float64, factor on the sample's loss; None is 1 for all.
    """

    kept: Tensor
    quadrant: Tensor
    filled: Tensor
    thresholds: Thresholds | None
    rank_correlation: float
    side: Tensor
    weight: Tensor | None = None

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

    Samples whose perplexity or entropy is not finite are never kept and do not shape the plane.
    Fewer samples than the budget are kept only if fewer are finite.

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
        ValueError: The shapes differ, the ratio lies outside (0, 1], there is no bisection step, or
            ``error_scale`` is unknown.
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
    if bool(finite.all()):
        return _select(ppl, entropy, budget, sample_ratio, bisect_steps, error_scale)
    subset = _select(ppl[finite], entropy[finite], budget, sample_ratio, bisect_steps, error_scale)
    return _spread(subset, finite)


def _select(
    ppl: Tensor, entropy: Tensor, budget: int, ratio: float, bisect_steps: int, error_scale: str
) -> Selection:
    n = ppl.shape[0]
    if n == 0:
        return Selection.without_plane(torch.zeros_like(ppl, dtype=torch.bool))
    k = min(budget, n)
    error, uncertainty = _Axis.of(ppl), _Axis.of(entropy)
    thresholds, quadrant = _bisect(error, uncertainty, k, ratio, bisect_steps)
    side = _normalised(ppl.log() if error_scale == "log_ppl" else ppl) - _normalised(entropy)

    in_q2_or_q4 = (quadrant == Q2) | (quadrant == Q4)
    # By support, largest first; the earlier sample wins a tie.
    by_support = argsort(side.abs(), descending=True)
    is_first = in_q2_or_q4.index_select(0, by_support)
    indices = torch.cat([by_support[is_first], by_support[~is_first]])[:k]
    kept = torch.zeros_like(in_q2_or_q4).index_fill_(0, indices, True)
    return Selection(
        kept=kept,
        quadrant=quadrant,
        filled=kept & ~in_q2_or_q4,
        thresholds=thresholds,
        rank_correlation=_correlation(error, uncertainty),
        side=side,
    )


@dataclass(frozen=True)
class _Axis:
    """The values of one axis, sorted once for quantiles, quadrants and ranks.

    Attributes:
        order: ``(N,)`` int64, the sample at each place.
        ordered: ``(N,)``, the value at each place.
    """

    order: Tensor
    ordered: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "_Axis":
        order = argsort(values)
        return cls(order, values.index_select(0, order))

    def in_pool_order(self, values: Tensor) -> Tensor:
        """Values of all places, ``(N,)``, in the order of the pool."""
        return torch.empty_like(values).scatter_(0, self.order, values)

    def quantile(self, g: float) -> float:
        """Inverse CDF: the smallest value v with at least a fraction ``g`` of the values <= v."""
        return float(self.ordered[max(0, math.ceil(g * self.ordered.shape[0] - 1e-9) - 1)])

    def ends(self, lo: float, hi: float) -> tuple[int, int]:
        """Number of low places (values <= lo), and the first high place (value >= hi).

        Values that are both low and high (ties, small pools) are high above the midpoint, else low.
        """
        low = int(torch.searchsorted(self.ordered, lo, right=True))
        high = int(torch.searchsorted(self.ordered, hi))
        if high >= low:
            return low, high
        # A value can be both only if lo == hi, and then equals lo.
        return (high, high) if lo > (hi + lo) / 2 else (low, low)


def _bisect(
    error: _Axis, uncertainty: _Axis, k: int, ratio: float, steps: int
) -> tuple[Thresholds, Tensor]:
    """Thresholds and quadrants, ``(N,)``, of the best of ``steps`` bisection iterates."""
    n = error.order.shape[0]
    places = torch.arange(n, dtype=torch.int32, device=error.order.device)
    # Places by uncertainty, in order of error: a quadrant is then a slice and one comparison.
    place = uncertainty.in_pool_order(places).index_select(0, error.order)
    low, high = 0.0, _HIGHEST_ALPHA
    best_rank: tuple[int, int] | None = None
    best_cut: tuple[Thresholds, tuple[int, int], tuple[int, int]] | None = None
    for _ in range(steps):
        alpha = (low + high) / 2
        ppl_lo, ppl_hi = error.quantile(alpha), error.quantile(1 - alpha)
        ent_lo, ent_hi = uncertainty.quantile(alpha), uncertainty.quantile(1 - alpha)
        ends = error.ends(ppl_lo, ppl_hi), uncertainty.ends(ent_lo, ent_hi)
        count = _count(place, *ends)
        # The count is a step function of alpha, so the last midpoint may lie on the wrong side of
        # a jump: keep the iterate nearest to k, on a tie the larger count, then the later iterate.
        rank = (-abs(count - k), count)
        if best_rank is None or rank >= best_rank:
            best_rank, best_cut = rank, (Thresholds(alpha, ppl_lo, ppl_hi, ent_lo, ent_hi), *ends)
        if count / n < ratio:
            low = alpha
        else:
            high = alpha
    assert best_cut is not None  # steps >= 1
    thresholds, *ends_of_best = best_cut
    return thresholds, error.in_pool_order(_quadrants(place, *ends_of_best))


def _count(place: Tensor, error: tuple[int, int], uncertainty: tuple[int, int]) -> int:
    """Number of samples in Q2 or Q4; arguments as for ``_quadrants``."""
    q2, q4 = place[error[1] :] < uncertainty[0], place[: error[0]] >= uncertainty[1]
    return int(q2.sum()) + int(q4.sum())


def _quadrants(place: Tensor, error: tuple[int, int], uncertainty: tuple[int, int]) -> Tensor:
    """Quadrant of each sample.

    Args:
        place: Place by uncertainty of each sample, ``(N,)`` in order of error.
        error: ``_Axis.ends`` of the error axis.
        uncertainty: ``_Axis.ends`` of the uncertainty axis.

    Returns:
        ``(N,)`` int64, in order of error.
    """
    quadrant = torch.full_like(place, BAND, dtype=torch.int64)
    for part, if_low, if_high in (
        (slice(None, error[0]), Q3, Q4),
        (slice(error[1], None), Q2, Q1),
    ):
        low, high = place[part] < uncertainty[0], place[part] >= uncertainty[1]
        quadrant[part] = low * if_low + high * if_high
    return quadrant


def _normalised(values: Tensor) -> Tensor:
    """Values min-max normalised to [0, 1]; a constant axis becomes 0.5."""
    low, high = values.min(), values.max()
    if bool(low == high):
        return torch.full_like(values, 0.5)
    return (values - low) / (high - low)


def _spread(selection: Selection, finite: Tensor) -> Selection:
    """Put a selection of the finite samples back into the order of the whole pool."""

    def whole(values: Tensor) -> Tensor:
        spread = torch.zeros_like(finite, dtype=values.dtype)
        spread[finite] = values
        return spread

    return Selection(
        kept=whole(selection.kept),
        quadrant=whole(selection.quadrant),
        filled=whole(selection.filled),
        thresholds=selection.thresholds,
        rank_correlation=selection.rank_correlation,
        side=whole(selection.side),
    )


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's rho of two ``(N,)`` tensors, ties at their mean rank; NaN if one is constant."""
    return _correlation(_Axis.of(x), _Axis.of(y))


def _correlation(x: _Axis, y: _Axis) -> float:
    """Spearman's rho of two axes, see ``rank_correlation``."""
    rx, ry = _mean_ranks(x), _mean_ranks(y)
    rx, ry = rx - rx.mean(), ry - ry.mean()
    scale = float((rx.square().sum() * ry.square().sum()).sqrt())
    return float((rx * ry).sum()) / scale if scale > 0 else math.nan


def _mean_ranks(axis: _Axis) -> Tensor:
    """Rank of each sample, counted from 1, ties at their mean, ``(N,)`` float64 in pool order."""
    _, group, size = torch.unique_consecutive(axis.ordered, return_inverse=True, return_counts=True)
    last = size.cumsum(0).double()
    mean_ranks = last - (size - 1) / 2
    return axis.in_pool_order(mean_ranks.index_select(0, group))
