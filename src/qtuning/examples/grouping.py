"""Examples grouped by length, so that all passes over a model together cost the least.

A pass costs its padded size (longest sample times number of samples) and a fixed overhead. The
overhead is given as the number of tokens that would take the same time.
"""

from collections import deque
from collections.abc import Sequence


def group_by_length(lengths: Sequence[int], size: int, overhead: int) -> list[list[int]]:
    """Group samples so that all passes together cost the least, in about n log n steps.

    Args:
        lengths: Input tokens of each sample.
        size: Padded size that no group exceeds, unless it is a single sample.
        overhead: Fixed cost of a group in tokens.

    Returns:
        Lists of indices into ``lengths``: groups, and samples in a group, by falling length.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    starts = _starts([lengths[i] for i in order], size, overhead)
    groups = []
    stop = len(order)
    while stop:
        start = starts[stop - 1]
        groups.append(order[start:stop])
        stop = start
    return groups[::-1]


def _starts(lengths: Sequence[int], size: int, overhead: int) -> list[int]:
    """Where the last group of the first i + 1 samples starts, at the least cost of all groups.

    On ties it is the first such place.

    All groups up to ``end`` cost ``lowest_cost[start] + lengths[start] * (end - start) + overhead``
    if the last one begins at ``start``. A later start has a lower slope, and fits for longer. Thus
    once it is cheaper than an earlier one it stays so, and ``best`` lists the starts that will be
    the cheapest in turn, each with the end from which on it is.

    Args:
        lengths: Input tokens of each sample, none longer than the one before.
        size: Padded size that no group exceeds, unless it is a single sample.
        overhead: Fixed cost of a group in tokens.
    """
    lowest_cost = [0]  # of all groups up to each end
    starts = []
    best: deque[tuple[int, int]] = deque()

    def cheaper_from(new: int, old: int) -> int:
        """The first end at which a group from ``new`` costs less than one from ``old``."""
        fitting = max(1, size // lengths[old]) if lengths[old] else len(lengths)
        too_large = old + fitting + 1
        slope = lengths[old] - lengths[new]
        ahead = lowest_cost[new] - lowest_cost[old] - lengths[old] * (new - old)  # at end == new
        if not slope:
            return new if ahead < 0 else too_large
        return min(new + ahead // slope + 1, too_large)

    for end in range(1, len(lengths) + 1):
        new, since = end - 1, end
        while best:
            since = max(end, cheaper_from(new, best[-1][0]))
            if since > best[-1][1]:
                break
            best.pop()
        best.append((new, since))
        while len(best) > 1 and best[1][1] <= end:
            best.popleft()
        start = best[0][0]
        starts.append(start)
        lowest_cost.append(lowest_cost[start] + lengths[start] * (end - start) + overhead)
    return starts
