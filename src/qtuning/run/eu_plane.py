"""The Error-Uncertainty plane as a picture (arXiv:2509.23873, figure 2)."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..core.plane import BAND, Q1, Q2, Q3, Q4, QUADRANT_NAMES
from ..errors import UsageError
from ..io.extras import need

# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLORS = {Q1: "#D55E00", Q2: "#0072B2", Q3: "#8A8A8A", Q4: "#009E73", BAND: "#C9B458"}
# Place of a quadrant's name: x and y in the axes, horizontal and vertical alignment.
_CORNERS = {
    Q1: (0.985, 0.98, "right", "top"),
    Q2: (0.985, 0.02, "right", "bottom"),
    Q3: (0.015, 0.02, "left", "bottom"),
    Q4: (0.015, 0.98, "left", "top"),
}


def plot_eu_plane(
    ledger: Any,
    path: Path,
    title: str = "Error-Uncertainty plane",
    *,
    gain: NDArray[np.float64] | None = None,
) -> None:
    """Draw all decisions of a ledger as points: perplexity, entropy (nats), quadrant, and fate.

    Args:
        ledger: A table of ``read_ledger``.
        path: File of the picture, PNG or any format of matplotlib.
        title: Headline of the picture.
        gain: Gain of each row in nats, ``(N,)``, to be drawn across in place of perplexity.

    Raises:
        UsageError: No candidate was scored, or matplotlib is missing.
    """
    need("drawing", "report", "matplotlib")
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    across, entropy = (ledger[name].to_numpy(zero_copy_only=False) for name in ("ppl", "entropy"))
    if gain is not None:
        across = gain
    quadrant, kept, filled = (ledger[name].to_numpy() for name in ("quadrant", "kept", "filled"))
    points = np.isfinite(across.astype(float)) & np.isfinite(entropy.astype(float))
    if not points.any():
        raise UsageError("no candidate in the ledger was scored, so there is no plane to draw")

    figure = Figure(figsize=(9, 6.4), dpi=150, layout="constrained")
    axes = figure.subplots()
    for q in (BAND, Q3, Q1, Q4, Q2):
        of_q = points & (quadrant == q)
        axes.scatter(
            *(across[of_q & ~kept], entropy[of_q & ~kept]),
            s=16,
            facecolors="none",
            edgecolors=_COLORS[q],
            linewidths=0.8,
            alpha=0.55,
        )
        axes.scatter(
            *(across[of_q & kept], entropy[of_q & kept]),
            s=34,
            color=_COLORS[q],
            edgecolors="white",
            linewidths=0.6,
            zorder=3,
        )
    axes.scatter(
        *(across[points & filled], entropy[points & filled]),
        s=80,
        facecolors="none",
        edgecolors="#222222",
        linewidths=0.9,
        zorder=4,
    )
    axes.margins(0.08, 0.14)
    if gain is None:
        axes.set_xscale("log")
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_xlabel("error: perplexity of the answer (log scale)")
        for q, corner in _CORNERS.items():
            of_q = points & (quadrant == q)
            counts = f"{(of_q & kept).sum()} of {of_q.sum()} kept"
            _name(axes, q, f"Q{q}  {QUADRANT_NAMES[q]}\n{counts}", *corner)
    else:
        axes.set_xlabel("gain: NLL of the answer alone minus NLL after its prompt (nats)")
        for q in (Q1, Q2, Q3, Q4, BAND):
            axes.scatter([], [], s=34, color=_COLORS[q], label=QUADRANT_NAMES[q])
        axes.legend(loc="upper right", frameon=False)
    axes.set_ylabel("uncertainty: mean entropy (nats)")
    figure.suptitle(title, x=0.012, ha="left", fontsize=14, fontweight="bold")
    axes.set_title(
        f"{points.sum():,} candidates, {(points & kept).sum():,} kept (full dots), of them "
        f"{(points & filled).sum():,} to fill the budget (ringed). Every step cuts the plane anew.",
        loc="left",
        fontsize=9.5,
        color="#444444",
    )
    axes.grid(alpha=0.25, linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path)


def _name(axes: Any, q: int, text: str, x: float, y: float, horizontal: str, vertical: str) -> None:
    """Write the name of a quadrant into its corner."""
    axes.text(
        *(x, y, text),
        transform=axes.transAxes,
        ha=horizontal,
        va=vertical,
        color=_COLORS[q],
        fontsize=10.5,
        fontweight="bold",
        linespacing=1.4,
    )
