"""Perplexity and entropy of a fixed set of samples over a run (arXiv:2509.23873, figure 8)."""

from typing import Any

import numpy as np
import pyarrow as pa


def probe_series(probe: pa.Table) -> dict[str, Any]:
    """Compute mean and quartiles of perplexity and entropy over the probe set at each step.

    The mean of perplexity is the geometric one, which is the perplexity of the samples' mean loss:
    a single sample of very high perplexity would dominate the arithmetic mean.

    Args:
        probe: ``step``, ``ppl`` and ``entropy`` (nats), one row per sample and visit.

    Returns:
        ``steps``; ``ppl`` and ``entropy``: means, first and third quartiles, one value per step.
    """
    steps = np.unique(probe["step"].to_numpy())
    series_of: dict[str, Any] = {"steps": steps.tolist()}
    step_of_row = probe["step"].to_numpy()
    for name in ("ppl", "entropy"):
        values = probe[name].to_numpy()
        parts = [values[(step_of_row == step) & np.isfinite(values)] for step in steps]
        means = [np.exp(np.log(part).mean()) if name == "ppl" else part.mean() for part in parts]
        lows, highs = ([np.quantile(part, q) for part in parts] for q in (0.25, 0.75))
        series_of[name] = [[round(float(v), 5) for v in series] for series in (means, lows, highs)]
    return series_of
