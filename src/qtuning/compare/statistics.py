"""Means and intervals over few seeds."""

import math
from collections.abc import Sequence
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
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan, 1)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Interval(mean, float(t.ppf(0.975, n - 1)) * math.sqrt(variance / n), n)


def detectable_difference(stdev: float, n: int, power: float = 0.8) -> float:
    """The smallest true mean of n paired differences that a test at 5% finds with that power.

    Args:
        stdev: Standard deviation of the differences.
        n: Number of pairs, at least 2.
        power: Chance of finding it.
    """
    from scipy.stats import nct, t

    critical = float(t.ppf(0.975, n - 1))
    low, high = 0.0, 1000.0
    for _ in range(100):  # the power grows with the noncentrality
        middle = (low + high) / 2
        found = 1.0 - float(nct.cdf(critical, n - 1, middle * math.sqrt(n)))
        low, high = (middle, high) if found < power else (low, middle)
    return high * stdev
