"""Distance of each sample of a pool to another decision: pure mathematics on tensors."""

import torch
from torch import Tensor

from .order import ranked

_ROWS = 1024  # rows of the (N, N) matrix of distances that are computed at once


def boundary_distance(ppl: Tensor, entropy: Tensor, outcome: Tensor) -> Tensor:
    """Distance of each sample to the nearest sample with another outcome.

    It is measured in the plane of ranks, where both axes run evenly from 0 to 1. Whichever pruner
    made the decisions, a change of scores would turn those at a small distance first.

    Args:
        ppl: Perplexity of each sample, ``(N,)``, finite.
        entropy: Mean answer entropy of each sample in nats, ``(N,)``, finite.
        outcome: Decision on each sample, ``(N,)`` of any dtype that can be compared.

    Returns:
        ``(N,)`` float64; infinite if all outcomes are equal.

    Raises:
        ValueError: The shapes differ or are not ``(N,)``.
    """
    if not ppl.ndim == 1 or not ppl.shape == entropy.shape == outcome.shape:
        raise ValueError(
            f"ppl {tuple(ppl.shape)}, entropy {tuple(entropy.shape)} and outcome "
            f"{tuple(outcome.shape)} must be (N,)"
        )
    n = ppl.shape[0]
    places = torch.stack([ranked(ppl), ranked(entropy)], dim=1) / max(1, n - 1)  # (N, 2)
    minima = torch.full((n,), torch.inf, dtype=torch.float64)
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        distances = torch.cdist(places[rows], places)  # (rows, N)
        same_outcome = outcome[rows, None] == outcome[None, :]
        minima[rows] = distances.masked_fill_(same_outcome, torch.inf).amin(1)
    return minima
