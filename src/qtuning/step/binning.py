"""Deal samples into bins of a fixed length, and bins into micro-batches, for all ranks."""

from collections.abc import Hashable, Sequence

from ..examples.bins import Bins
from .dealing import share_out


def deal_bins(
    lengths: Sequence[int], homes: Sequence[tuple[int, Hashable]], n: int, ranks: int, bins: Bins
) -> list[list[list[int]]]:
    """Deal samples into at most ``n`` micro-batches a rank, as few as the bins allow.

    Ranks wait for each other, so samples are shared out evenly, and each rank fills bins anew.
    Should that take more bins than there were, which first fit may, samples stay where they were.

    Args:
        lengths: Input tokens of each sample of all ranks.
        homes: The rank of each sample, and the bin of that rank that it was in.
        n: Number of micro-batches of a rank, at least 1.
        ranks: Number of ranks.
        bins: The bins of a micro-batch.

    Returns:
        For each rank its micro-batches, none empty: indices into ``lengths``, bin after bin.
    """
    filled = [
        [
            [share[place] for place in members]
            for members in first_fit([lengths[i] for i in share], bins.length)
        ]
        for share in share_out(lengths, ranks)
    ]
    if max(map(len, filled)) > n * bins.rows:
        filled = _at_home(homes, ranks)
    return [_micro_batches(of_rank, bins.rows) for of_rank in filled]


def first_fit(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Fill bins, each sample into the first one that has room, the longest first.

    Filling the bins one after the other with the samples in the order returned gives the same bins:
    the first sample of a bin had no room in any before it.

    Args:
        lengths: Input tokens of each sample.
        size: Input tokens that a bin holds; a longer sample has a bin to itself.

    Returns:
        Bins: lists of indices into ``lengths``.
    """
    filled: list[list[int]] = []
    free: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        place = next((p for p, room in enumerate(free) if room >= lengths[i]), len(free))
        if place == len(free):
            filled.append([])
            free.append(size)
        filled[place].append(i)
        free[place] -= lengths[i]
    return filled


def _at_home(homes: Sequence[tuple[int, Hashable]], ranks: int) -> list[list[list[int]]]:
    """The bins of each rank as they were, without the samples that are gone."""
    by_home: dict[tuple[int, Hashable], list[int]] = {}
    for i, home in enumerate(homes):
        by_home.setdefault(home, []).append(i)
    return [[members for home, members in by_home.items() if home[0] == r] for r in range(ranks)]


def _micro_batches(filled: Sequence[list[int]], rows: int) -> list[list[int]]:
    """As few micro-batches of at most ``rows`` bins as there can be, of about as many bins each."""
    if not filled:
        return []
    passes = -(-len(filled) // rows)
    size = -(-len(filled) // passes)
    return [
        [i for members in filled[start : start + size] for i in members]
        for start in range(0, len(filled), size)
    ]
