"""Robust z-scores of a series of losses: median and MAD, which outliers cannot move."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

WINDOW = 25
"""Losses before a step that its loss is compared with."""
LEAST = 5
"""Losses that must come before a step; those before have no z-score."""
_MAD = 1.482602218505602
"""Standard deviation of a normal distribution whose median absolute deviation is 1."""
_MEAN_AD = 1.2533141373155003
"""Standard deviation of a normal distribution whose mean absolute deviation is 1."""


def robust_scores(losses: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """How far each loss lies above those before it, in robust standard deviations.

    The rise of a loss is its distance from the median of the up to 25 finite losses before it; the
    step after a low loss is no rise, as it would be by the difference of neighbours. The z-score is
    the rise over the standard deviation of the losses around their course, which comes from the
    differences of neighbours, since the course hardly moves between two steps: 1.4826 times their
    median absolute deviation from their median, over the square root of 2, as a difference has the
    noise of two losses. Where that is 0, 1.2533 times the mean absolute deviation takes its place.

    Args:
        losses: Losses in the order of the steps, ``(N,)``; may be NaN or infinite.

    Returns:
        z-scores ``(N,)``: NaN for the first 5 finite losses, and if no losses differ; infinite for
        a loss that is not finite. And the median of the losses before each, ``(N,)``; NaN for none.
    """
    is_finite = np.isfinite(losses)
    values = losses[is_finite]
    n_before = np.cumsum(is_finite) - is_finite  # finite losses before each
    medians = _medians_before(values)[n_before]
    scores = np.where(is_finite, np.nan, np.inf)
    counts = is_finite & (n_before >= LEAST)
    if counts.any():
        differences = np.diff(values)
        deviations = np.abs(differences - np.median(differences))
        scale = _MAD * np.median(deviations)
        if scale == 0.0:
            scale = _MEAN_AD * deviations.mean()
        if scale > 0.0:
            scores[counts] = (losses[counts] - medians[counts]) / (scale / np.sqrt(2.0))
    return scores, medians


def _medians_before(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Medians of the up to ``WINDOW`` values before each place and before the end, ``(N+1,)``."""
    n = len(values)
    first = [np.median(values[:i]) if i else np.nan for i in range(min(n + 1, WINDOW))]
    if n < WINDOW:
        return np.array(first)
    return np.concatenate([first, np.median(sliding_window_view(values, WINDOW), axis=1)])
