"""Examples grouped by length, so that all passes over a model together cost the least.

A pass costs its padded size, longest times count, and a fixed overhead. The overhead is given in
tokens: as many as would take the same time.
"""

from collections.abc import Sequence

import numpy as np

_OVERHEAD = {"cpu": 64, "cuda": 512}


def pass_overhead(device_type: str) -> int:
    """The fixed cost of a pass over the model, in tokens.

    It need not be exact. On a CPU passes of SmolLM2-135M cost 45 (forward) to 70 tokens (forward
    and backward, full fine-tuning); on a GPU it is launching kernels, never measured here.
    """
    return _OVERHEAD.get(device_type, _OVERHEAD["cuda"])


def group_by_length(lengths: Sequence[int], size: int, overhead: int) -> list[list[int]]:
    """Group samples so that all passes together cost the least.

    Args:
        lengths: Input tokens of each sample.
        size: Padded size that no group exceeds, unless it is a single sample.
        overhead: Fixed cost of a group in tokens.

    Returns:
        Lists of indices into ``lengths``, each longest first; the longest samples first.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    longest = np.array([lengths[i] for i in order], dtype=np.int64)
    places = np.arange(len(order))
    cheapest = np.zeros(len(order) + 1, dtype=np.int64)  # of the first i samples
    first = np.zeros(len(order), dtype=np.int64)  # where the group that ends with sample i starts
    for i in places:
        padded = longest[: i + 1] * (i + 1 - places[: i + 1])
        fits = (padded <= size) | (places[: i + 1] == i)  # one sample must fit
        costs = np.where(fits, cheapest[: i + 1] + padded + overhead, np.iinfo(np.int64).max)
        first[i] = int(costs.argmin())
        cheapest[i + 1] = costs[first[i]]
    groups = []
    stop = len(order)
    while stop:
        start = int(first[stop - 1])
        groups.append(order[start:stop])
        stop = start
    return groups[::-1]
