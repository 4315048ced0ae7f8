"""Means, confidence intervals and detectable differences over few seeds."""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from statistics import fmean, stdev
from typing import NamedTuple


class Interval(NamedTuple):
    """A mean and the half width of its 95% confidence interval.

    Attributes:
        mean: The mean.
        half_width: Half the interval's width; NaN for a single value.
        n: Number of values.
    """

    mean: float
    half_width: float
    n: int

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero; False for a single value."""
        return abs(self.mean) > self.half_width


def t_interval(values: Sequence[float]) -> Interval:
    """Compute the mean of independent values and its 95% interval by Student's t distribution.

    Args:
        values: One value for each seed, ``(n,)``.

    Raises:
        ValueError: ``values`` is empty.
    """
    from scipy.stats import t

    n = len(values)
    if not n:
        raise ValueError("no value")
    if n == 1:
        return Interval(values[0], math.nan, 1)
    half_width = float(t.ppf(0.975, n - 1)) * stdev(values) / math.sqrt(n)
    return Interval(fmean(values), half_width, n)


def paired(
    ours: Mapping[int, float],
    theirs: Mapping[int, float],
    compare: Callable[[float, float], float] = operator.sub,
) -> Interval | None:
    """Compute the mean and 95% interval of differences between values of the same seed.

    Args:
        ours: Values by seed.
        theirs: Values by seed to compare with.
        compare: Function of two values of one seed, by default their difference.

    Returns:
        The interval over the seeds that both have; None if they have no seed in common.
    """
    seeds = sorted(ours.keys() & theirs.keys())
    return t_interval([compare(ours[seed], theirs[seed]) for seed in seeds]) if seeds else None


def detectable_difference(spread: float, n: int, power: float = 0.8) -> float:
    """Compute the smallest true mean of paired differences that a t test at 5% detects.

    Args:
        spread: Standard deviation of the differences.
        n: Number of pairs, at least 2.
        power: Probability with which the two-sided test detects the difference.

    Returns:
        The difference, in the unit of ``spread``, by the noncentral t distribution.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    critical = t.ppf(0.975, n - 1)

    def shortfall(difference: float) -> float:
        """Return how far the power is too low at a difference in standard deviations."""
        return float(power - nct.sf(critical, n - 1, difference * math.sqrt(n)))

    return float(brentq(shortfall, 0.0, 100.0)) * spread
