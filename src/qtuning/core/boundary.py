"""How near each sample of a pool lies to another decision: pure mathematics on tensors."""

import torch
from torch import Tensor

from .order import ranked

_ROWS = 1024  # distances are computed for so many samples at a time, against all


def boundary_distance(ppl: Tensor, entropy: Tensor, outcome: Tensor) -> Tensor:
    """Distance of each sample to the nearest one that was decided otherwise.

    Measured in the plane of ranks, where both axes run evenly from 0 to 1: whichever pruner made
    the decisions, those at a small distance are the first that a change of scores would turn.

    Args:
        ppl: Perplexity of each sample, ``(N,)``, finite.
        entropy: Mean answer entropy of each sample in nats, ``(N,)``, finite.
        outcome: What was decided, ``(N,)`` of any type that compares.

    Returns:
        ``(N,)`` float64; infinite where all were decided alike.

    Raises:
        ValueError: Shapes differ.
    """
    if not ppl.ndim == 1 or not ppl.shape == entropy.shape == outcome.shape:
        raise ValueError(
            f"ppl {tuple(ppl.shape)}, entropy {tuple(entropy.shape)} and outcome "
            f"{tuple(outcome.shape)} must be (N,)"
        )
    n = ppl.shape[0]
    places = torch.stack([ranked(ppl), ranked(entropy)], dim=1) / max(1, n - 1)  # (N, 2)
    nearest = torch.full((n,), torch.inf, dtype=torch.float64)
    for start in range(0, n, _ROWS):
        rows = slice(start, start + _ROWS)
        distances = torch.cdist(places[rows], places)  # (rows, N)
        alike = outcome[rows, None] == outcome[None, :]
        nearest[rows] = distances.masked_fill_(alike, torch.inf).amin(1)
    return nearest
