"""Examples grouped by length, so that all passes over a model together cost the least.

A pass costs its padded size (longest sample times number of samples) and a fixed overhead. The
overhead is given as the number of tokens that would take the same time.
"""

from collections.abc import Sequence

import numpy as np

_OVERHEAD = {"cpu": 64, "cuda": 512}


def pass_overhead(device_type: str) -> int:
    """The fixed cost of a pass over the model, in tokens.

    The number need not be exact. On a CPU, a pass of SmolLM2-135M has an overhead of 45 (forward)
    to 70 tokens (forward and backward, full fine-tuning). On a GPU the overhead is the launch of
    kernels; its number is an estimate without a measurement.
    """
    return _OVERHEAD.get(device_type, _OVERHEAD["cuda"])


def group_by_length(lengths: Sequence[int], size: int, overhead: int) -> list[list[int]]:
    """Group samples so that all passes together cost the least.

    Args:
        lengths: Input tokens of each sample.
        size: Padded size that no group exceeds, unless it is a single sample.
        overhead: Fixed cost of a group in tokens.

    Returns:
        Lists of indices into ``lengths``: groups, and samples in a group, by falling length.
    """
    order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
    sorted_lengths = np.array([lengths[i] for i in order], dtype=np.int64)
    places = np.arange(len(order))
    lowest_cost = np.zeros(len(order) + 1, dtype=np.int64)  # of all groups of the first i samples
    starts = np.zeros(len(order), dtype=np.int64)  # where the group that ends with sample i starts
    for i in places:
        padded_sizes = sorted_lengths[: i + 1] * (i + 1 - places[: i + 1])
        fits = (padded_sizes <= size) | (places[: i + 1] == i)  # one sample must fit
        costs = np.where(
            fits, lowest_cost[: i + 1] + padded_sizes + overhead, np.iinfo(np.int64).max
        )
        starts[i] = int(costs.argmin())
        lowest_cost[i + 1] = costs[starts[i]]
    groups = []
    stop = len(order)
    while stop:
        start = int(starts[stop - 1])
        groups.append(order[start:stop])
        stop = start
    return groups[::-1]
