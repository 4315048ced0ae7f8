"""Pictures for papers, of the same data as the page."""

from pathlib import Path
from typing import Any

import numpy as np

from ..io.extras import need
from ..offline.suspects import gains
from ..run.eu_plane import plot_eu_plane
from .material import Material
from .over_time import quadrant_shares
from .probe import probe_series
from .token_shares import token_shares
from .visits import visits_of

# Okabe and Ito's palette, which colour-blind readers can tell apart; quadrant_shares' order.
_LAYERS = (
    ("Q1", "#D55E00"),
    ("Q2", "#0072B2"),
    ("Q3", "#8A8A8A"),
    ("Q4", "#009E73"),
    ("band", "#C9B458"),
)


def draw(material: Material, folder: Path, kind: str) -> list[Path]:
    """Draw the pictures that the material allows: planes, shares, probe set, kinds of tokens.

    Args:
        material: The decisions, with their context.
        folder: Folder of the pictures, created if it is missing.
        kind: Format of the pictures: "png", "svg" or "pdf".

    Returns:
        The paths of the pictures.

    Raises:
        UsageError: matplotlib is not installed, or no candidate was scored.
    """
    need("drawing", "report", "matplotlib")
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    visits, _, _ = visits_of(material.table, by_id=material.by_id)
    plane = folder / f"eu-plane.{kind}"
    title = material.title.replace("$", r"\$")
    plot_eu_plane(material.table, plane, title=title)
    files = [plane]
    gain = gains(material.table)
    if not np.isnan(gain).all():
        files.append(folder / f"gain-plane.{kind}")
        plot_eu_plane(material.table, files[-1], title=title, gain=gain)
    shares = quadrant_shares(visits) if material.by_id else None
    parts = {
        "quadrants": (_shares, shares),
        "probe": (_probe, None if material.probe is None else probe_series(material.probe)),
        "token-kinds": (_kinds, token_shares(material.table, material.origin)),
    }
    for name, (draw_part, content) in parts.items():
        if content is None:
            continue
        figure = Figure(figsize=(8, 4), layout="constrained")
        draw_part(figure, content)
        files.append(folder / f"{name}.{kind}")
        figure.savefig(files[-1], dpi=200)
    return files


def _shares(figure: Any, content: dict[str, Any]) -> None:
    axes = figure.subplots()
    names, colours = zip(*_LAYERS, strict=True)
    axes.stackplot(content["steps"], content["layers"], labels=names, colors=colours)
    axes.set(xlabel="optimizer step", ylabel="share of the candidates", ylim=(0, 1))
    axes.margins(x=0)
    figure.legend(loc="outside right upper", frameon=False)


def _probe(figure: Any, content: dict[str, Any]) -> None:
    labels = {"ppl": "perplexity, geometric mean", "entropy": "entropy (nats)"}
    for axes, (name, label) in zip(figure.subplots(1, 2), labels.items(), strict=True):
        middle, low, high = content[name]
        axes.fill_between(content["steps"], low, high, alpha=0.2, label="quartiles")
        axes.plot(content["steps"], middle, marker="o", markersize=3, label="mean")
        axes.set(xlabel="optimizer step", ylabel=label)
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)


def _kinds(figure: Any, content: dict[str, Any]) -> None:
    rows = content["rows"][::-1]
    axes = figure.subplots()
    names = [row["name"] for row in rows]
    kept, pruned = (np.array([row[which] for row in rows]) for which in ("kept", "pruned"))
    total = kept + pruned
    axes.barh(names, 100 * kept / total, color="#0072B2", label="kept")
    bars = axes.barh(
        names, 100 * pruned / total, left=100 * kept / total, color="#D55E00", label="pruned"
    )
    axes.bar_label(bars, labels=[f"{n:,}" for n in total], padding=4)
    axes.set(xlabel="% of the tokens of samples whose tokens were pruned", xlim=(0, 112))
    figure.legend(loc="outside upper right", ncols=2, frameon=False)
