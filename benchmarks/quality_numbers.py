"""The study's arithmetic: agreement of kept sets, and intervals over few seeds."""

import math
from collections.abc import Sequence
from typing import NamedTuple

# 97.5% quantiles of Student's t by degrees of freedom, from 1 on.
_T = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)


class Interval(NamedTuple):
    """A mean and the half width of its 95% confidence interval; NaN for a single value."""

    mean: float
    half_width: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval lies on one side of zero; False if it is not known."""
        return abs(self.mean) > self.half_width


def t_interval(values: Sequence[float]) -> Interval:
    """Mean and 95% interval by Student's t of independent values (the seeds).

    Raises:
        ValueError: No value, or more than 21.
    """
    n = len(values)
    if not 1 <= n <= len(_T) + 1:
        raise ValueError(f"1 to {len(_T) + 1} values, got {n}")
    mean = math.fsum(values) / n
    if n == 1:
        return Interval(mean, math.nan)
    variance = math.fsum((value - mean) ** 2 for value in values) / (n - 1)
    return Interval(mean, _T[n - 2] * math.sqrt(variance / n))


def jaccard(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Common members over all members of two sets, given as flags on the same items.

    Two empty sets agree: 1.
    """
    both = sum(x and y for x, y in zip(a, b, strict=True))
    either = sum(x or y for x, y in zip(a, b, strict=True))
    return both / either if either else 1.0


def chance_jaccard(share: float) -> float:
    """What two independent choices of that share have in common, in large numbers."""
    return share / (2 - share)


def pack_bits(flags: Sequence[bool]) -> str:
    """Flags as hexadecimal digits, the first flag in the highest bit."""
    text = "".join("1" if flag else "0" for flag in flags)
    text += "0" * (-len(text) % 4)
    return "".join(f"{int(text[i : i + 4], 2):x}" for i in range(0, len(text), 4))


def unpack_bits(digits: str, n: int) -> list[bool]:
    """The first ``n`` flags that ``pack_bits`` packed."""
    return [bit == "1" for digit in digits for bit in f"{int(digit, 16):04b}"][:n]
