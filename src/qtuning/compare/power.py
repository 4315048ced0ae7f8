"""The smallest differences that a comparison can detect with its number of seeds."""

import math
from collections.abc import Mapping, Sequence

from .figures import RANDOM, Compared, partner
from .statistics import detectable_difference
from .tables import Table

_MEASURES = {"score": ("score, percentage points", 100.0, 2), "nll": ("NLL, nats", 1.0, 4)}


def power_table(groups: Mapping[str, Sequence[Compared]]) -> Table | None:
    """Make a table of the true difference to ``random-random`` detected with 80% power, by group.

    The standard deviation of a paired difference is pooled over all methods and budgets. The test
    is Student's t test at 5%, with as many pairs as the method with the fewest seeds has.

    Args:
        groups: Title of each group, and the methods in it.

    Returns:
        The table; None if no group has two seeds of a method and ``random-random``.
    """
    rows = []
    for name, group in groups.items():
        for measure, (title, factor, decimals) in _MEASURES.items():
            deviation_and_pairs = _pooled(group, measure)
            if deviation_and_pairs is None:
                continue
            stdev, n = deviation_and_pairs
            detectable = detectable_difference(stdev, n)
            numbers = (
                f"{factor * stdev:.{decimals}f}",
                str(n),
                f"{factor * detectable:.{decimals}f}",
            )
            rows.append((name, title, *numbers))
    if not rows:
        return None
    header = ("data", "measure", "sd of a paired difference", "seeds", "found with 80% power")
    return Table("What differences these seeds can show", header, tuple(rows))


def _pooled(group: Sequence[Compared], measure: str) -> tuple[float, int] | None:
    squares, freedom, fewest = 0.0, 0, 0
    for line in group:
        other = partner(line, group, RANDOM)
        if other is None or other is line:
            continue
        ours, theirs = line.values(measure), other.values(measure)
        differences = [ours[seed] - theirs[seed] for seed in ours.keys() & theirs.keys()]
        n = len(differences)
        if n < 2:
            continue
        mean = math.fsum(differences) / n
        squares += math.fsum((one - mean) ** 2 for one in differences)
        freedom += n - 1
        fewest = min(fewest, n) if fewest else n
    return (math.sqrt(squares / freedom), fewest) if freedom else None
