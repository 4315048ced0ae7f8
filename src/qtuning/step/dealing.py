"""Group samples into micro-batches, and share them out between ranks."""

from collections.abc import Sequence

from ..examples.grouping import group_by_length


def deal(lengths: Sequence[int], n: int, size: int, overhead: int) -> list[list[int]]:
    """Group samples into at most ``n`` micro-batches that cost as little as possible.

    Few large micro-batches are cheaper than many small ones, up to the size that fits the memory.
    Where the samples do not fit into ``n`` micro-batches of that size, the size grows as little as
    possible.

    Args:
        lengths: Input tokens of each sample.
        n: Number of micro-batches, at least 1.
        size: Largest padded size of a micro-batch, in tokens.
        overhead: Fixed cost of a micro-batch in tokens.

    Returns:
        At most ``n`` lists of indices into ``lengths``, none empty.
    """
    size = max(size, _smallest_size(lengths, n))
    groups = group_by_length(lengths, size, overhead)
    while len(groups) > n:  # ends: a large overhead makes every further group too dear
        overhead = 2 * overhead + 1
        groups = group_by_length(lengths, size, overhead)
    return groups


def _smallest_size(lengths: Sequence[int], n: int) -> int:
    """The smallest padded size, in tokens, at which ``n`` groups hold all samples."""
    descending_lengths = sorted(lengths, reverse=True)
    low = max(descending_lengths, default=0)
    high = max(low, low * len(descending_lengths))
    while low < high:
        middle = (low + high) // 2
        if _groups_needed(descending_lengths, middle) <= n:
            high = middle
        else:
            low = middle + 1
    return high


def _groups_needed(descending_lengths: Sequence[int], size: int) -> int:
    """Number of groups of at most ``size`` padded tokens; the lengths come longest first."""
    groups, longest, count = 0, 0, 0
    for length in descending_lengths:  # a group's first sample is its longest
        if groups and longest * (count + 1) <= size:
            count += 1
        else:
            groups, longest, count = groups + 1, length, 1
    return groups


def share_out(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Share samples out between ranks, so that all ranks have about as many tokens.

    Args:
        lengths: Input tokens of each sample.
        ranks: Number of ranks.

    Returns:
        A list of indices into ``lengths`` for each rank.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        rank = loads.index(min(loads))
        shares[rank].append(i)
        loads[rank] += lengths[i]
    return [sorted(share) for share in shares]


def share_near(lengths: Sequence[int], homes: Sequence[int], ranks: int) -> list[list[int]]:
    """Share samples out between ranks as ``share_out`` does, and move few of them.

    As long as it lowers the load of the rank with most tokens, the sample that comes nearest to
    halving the gap goes from it to the rank with least.

    Args:
        lengths: Input tokens of each sample.
        homes: The rank that each sample is on.
        ranks: Number of ranks.

    Returns:
        A list of indices into ``lengths`` for each rank.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    for i, home in enumerate(homes):
        shares[home].append(i)
    while True:
        loads = [sum(lengths[i] for i in share) for share in shares]
        full, free = loads.index(max(loads)), loads.index(min(loads))
        gap = loads[full] - loads[free]
        movable = [i for i in shares[full] if 0 < lengths[i] < gap]
        if not movable:
            return [sorted(share) for share in shares]
        nearest = min(movable, key=lambda i: (abs(2 * lengths[i] - gap), i))
        shares[full].remove(nearest)
        shares[free].append(nearest)
