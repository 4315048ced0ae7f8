"""Changes in the course of a run: shares of the quadrants, and moves of samples between them."""

from itertools import pairwise
from typing import Any

import numpy as np

from ..core.plane import BAND, Q1, Q2, Q3, Q4
from .visits import Visits

_LAYERS = (Q1, Q2, Q3, Q4, BAND)
_POINTS = 200


def quadrant_shares(visits: Visits) -> dict[str, Any] | None:
    """Compute the shares of Q1 to Q4 and the middle band among the candidates, over the steps.

    A long run is reduced to at most 200 points, each a mean over neighbouring steps.

    Returns:
        ``steps``, and ``layers``: for each quadrant a share for each step. None for a single step.
    """
    steps = np.unique(visits.step)
    if len(steps) < 2:
        return None
    bins = np.array_split(steps, min(_POINTS, len(steps)))
    place = np.searchsorted([bin_steps[-1] for bin_steps in bins], visits.step)
    counts = np.zeros((5, len(bins)))
    np.add.at(counts, (visits.quadrant, place), 1)
    shares = counts / counts.sum(0)
    return {
        "steps": [round(float(bin_steps.mean()), 1) for bin_steps in bins],
        "layers": [[round(float(v), 4) for v in shares[q]] for q in _LAYERS],
    }


def migrations(visits: Visits) -> list[dict[str, Any]]:
    """Count the samples that went from one quadrant to another, from each epoch to the next.

    Returns:
        For each pair of epochs ``from`` and ``to``, counted from 0, and ``counts[old][new]``,
        ``(5, 5)``, by quadrant number.
    """
    moves = []
    epochs = np.unique(visits.epoch)
    n = int(visits.sample.max()) + 1 if len(visits) else 0
    quadrant_in = {}
    for epoch in epochs:
        in_epoch = visits.epoch == epoch
        quadrant_in[epoch] = np.full(n, -1)
        quadrant_in[epoch][visits.sample[in_epoch]] = visits.quadrant[in_epoch]
    for one, other in pairwise(epochs):
        both = (quadrant_in[one] >= 0) & (quadrant_in[other] >= 0)
        counts = np.zeros((5, 5), dtype=int)
        np.add.at(counts, (quadrant_in[one][both], quadrant_in[other][both]), 1)
        moves.append({"from": int(one), "to": int(other), "counts": counts.tolist()})
    return moves


def most_often_dropped(visits: Visits, n: int) -> dict[str, Any] | None:
    """Find the ``n`` samples that were dropped most often; None if no sample was visited twice.

    Returns:
        ``samples``, and by sample ``dropped``, the number of drops, and ``visits``.
    """
    visits_of_sample = np.bincount(visits.sample)
    if not len(visits_of_sample) or visits_of_sample.max() < 2:
        return None
    drops = np.bincount(visits.sample, weights=1 - visits.kept.astype(float)).astype(int)
    order = np.argsort(-drops, kind="stable")[:n]
    samples = [int(i) for i in order if drops[i]]
    return {
        "samples": samples,
        "dropped": {i: int(drops[i]) for i in samples},
        "visits": {i: int(visits_of_sample[i]) for i in samples},
    }
