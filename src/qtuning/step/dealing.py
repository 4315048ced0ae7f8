"""Who trains together: samples dealt into micro-batches, and shared out between ranks."""

from collections.abc import Sequence

from ..examples.grouping import group_by_length


def deal(lengths: Sequence[int], n: int, size: int, overhead: int) -> list[list[int]]:
    """Deal samples into at most ``n`` micro-batches that cost the least.

    Few large ones are cheaper than many small ones, up to the size that fits the memory. Where
    ``n`` are not enough at that size, they grow as little as they can.

    Args:
        lengths: Input tokens of each sample.
        n: Number of micro-batches, at least 1.
        size: Padded size that a micro-batch may have.
        overhead: Fixed cost of a micro-batch in tokens.

    Returns:
        At most ``n`` lists of indices into ``lengths``, none empty.
    """
    size = max(size, _smallest_size(lengths, n))
    groups = group_by_length(lengths, size, overhead)
    while len(groups) > n:  # at the latest when overhead is all that counts, there are few enough
        overhead = 2 * overhead + 1
        groups = group_by_length(lengths, size, overhead)
    return groups


def _smallest_size(lengths: Sequence[int], n: int) -> int:
    """The smallest padded size at which ``n`` groups are enough."""
    ordered = sorted(lengths, reverse=True)
    low = max(ordered, default=0)
    high = max(low, low * len(ordered))
    while low < high:
        middle = (low + high) // 2
        if _groups_needed(ordered, middle) <= n:
            high = middle
        else:
            low = middle + 1
    return high


def _groups_needed(ordered: Sequence[int], size: int) -> int:
    groups, longest, count = 0, 0, 0
    for length in ordered:  # longest first, so a group's first sample is its longest
        if groups and longest * (count + 1) <= size:
            count += 1
        else:
            groups, longest, count = groups + 1, length, 1
    return groups


def share_out(lengths: Sequence[int], ranks: int) -> list[list[int]]:
    """Share samples out between ranks so that none has much more to do than the others.

    Args:
        lengths: Input tokens of each sample.
        ranks: Number of ranks.

    Returns:
        A list of indices into ``lengths`` for each rank.
    """
    shares: list[list[int]] = [[] for _ in range(ranks)]
    loads = [0] * ranks
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        least = loads.index(min(loads))
        shares[least].append(i)
        loads[least] += lengths[i]
    return [sorted(share) for share in shares]
