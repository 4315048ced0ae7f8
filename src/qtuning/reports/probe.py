"""Perplexity and entropy of a fixed set of samples over a run (arXiv:2509.23873, figure 8)."""

from typing import Any

import numpy as np
import pyarrow as pa


def probe_series(probe: pa.Table) -> dict[str, Any]:
    """Mean and quartiles of each visit.

    The mean of perplexity is the geometric one, the perplexity of the mean loss a sample: one
    hopeless sample would be all of the arithmetic mean.

    Args:
        probe: ``step``, ``ppl`` and ``entropy`` (nats), one row a sample and visit.

    Returns:
        ``steps``; ``ppl`` and ``entropy``: means, first and third quartiles, a value a step.
    """
    steps = np.unique(probe["step"].to_numpy())
    made: dict[str, Any] = {"steps": steps.tolist()}
    of = probe["step"].to_numpy()
    for name in ("ppl", "entropy"):
        values = probe[name].to_numpy()
        parts = [values[(of == step) & np.isfinite(values)] for step in steps]
        means = [np.exp(np.log(one).mean()) if name == "ppl" else one.mean() for one in parts]
        lows, highs = ([np.quantile(one, q) for one in parts] for q in (0.25, 0.75))
        made[name] = [[round(float(v), 5) for v in series] for series in (means, lows, highs)]
    return made
