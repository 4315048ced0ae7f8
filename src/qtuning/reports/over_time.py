"""What changes in the course of a run: shares of the quadrants, and where samples go."""

from itertools import pairwise
from typing import Any

import numpy as np

from ..core.plane import BAND, Q1, Q2, Q3, Q4
from .visits import Visits

_LAYERS = (Q1, Q2, Q3, Q4, BAND)
_POINTS = 200


def quadrant_shares(visits: Visits) -> dict[str, Any] | None:
    """Share of each of Q1 to Q4 and the middle band among the candidates, over the steps.

    Long runs in at most 200 points, each the mean of neighbouring steps.

    Returns:
        ``steps``, and ``layers``: for each quadrant a share for each of them. None for one step.
    """
    steps = np.unique(visits.step)
    if len(steps) < 2:
        return None
    bins = np.array_split(steps, min(_POINTS, len(steps)))
    place = np.searchsorted([some[-1] for some in bins], visits.step)
    counts = np.zeros((5, len(bins)))
    np.add.at(counts, (visits.quadrant, place), 1)
    shares = counts / counts.sum(0)
    return {
        "steps": [round(float(some.mean()), 1) for some in bins],
        "layers": [[round(float(v), 4) for v in shares[q]] for q in _LAYERS],
    }


def migrations(visits: Visits) -> list[dict[str, Any]]:
    """From each epoch to the next: how many samples went from which quadrant to which.

    Returns:
        ``from`` and ``to`` (epochs, from 0) and ``counts``, ``[5][5]``, by quadrant number.
    """
    found = []
    epochs = np.unique(visits.epoch)
    n = int(visits.sample.max()) + 1 if len(visits) else 0
    where = {}
    for epoch in epochs:
        inside = visits.epoch == epoch
        where[epoch] = np.full(n, -1)
        where[epoch][visits.sample[inside]] = visits.quadrant[inside]
    for one, other in pairwise(epochs):
        both = (where[one] >= 0) & (where[other] >= 0)
        counts = np.zeros((5, 5), dtype=int)
        np.add.at(counts, (where[one][both], where[other][both]), 1)
        found.append({"from": int(one), "to": int(other), "counts": counts.tolist()})
    return found


def most_often_dropped(visits: Visits, n: int) -> dict[str, Any] | None:
    """The ``n`` samples that were dropped most often; None where each was met once.

    Returns:
        ``samples``, and ``dropped``: how often, by sample.
    """
    met = np.bincount(visits.sample)
    if not len(met) or met.max() < 2:
        return None
    dropped = np.bincount(visits.sample, weights=1 - visits.kept.astype(float)).astype(int)
    order = np.argsort(-dropped, kind="stable")[:n]
    chosen = [int(i) for i in order if dropped[i]]
    return {"samples": chosen, "dropped": {i: int(dropped[i]) for i in chosen}}
