"""Means and intervals over few seeds."""

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
        """Whether the interval lies on one side of zero; False if it is not known."""
        return abs(self.mean) > self.half_width


def t_interval(values: Sequence[float]) -> Interval:
    """Mean and 95% interval by Student's t of independent values (the seeds).

    Raises:
        ValueError: No value.
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
    """Mean and interval of differences, or of what else ``compare`` gives, seed by seed.

    Args:
        ours: Values by seed.
        theirs: Those compared with.
        compare: What to make of two values of one seed.

    Returns:
        Of the seeds that both have; None if there is none.
    """
    both = sorted(ours.keys() & theirs.keys())
    return t_interval([compare(ours[seed], theirs[seed]) for seed in both]) if both else None


def detectable_difference(spread: float, n: int, power: float = 0.8) -> float:
    """The smallest true mean of n paired differences that a test at 5% finds with that power.

    Args:
        spread: Standard deviation of the differences.
        n: Number of pairs, at least 2.
        power: Chance of finding it.
    """
    from scipy.optimize import brentq
    from scipy.stats import nct, t

    critical = t.ppf(0.975, n - 1)

    def missing(difference: float) -> float:
        """Power that is missing at a true difference of so many standard deviations."""
        return float(power - nct.sf(critical, n - 1, difference * math.sqrt(n)))

    return float(brentq(missing, 0.0, 100.0)) * spread
