"""Plots of a comparison: score and held-out NLL over answer tokens and compute."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..io.extras import need
from .figures import FULL, Line

_X = {"answer_tokens": "answer tokens trained on", "compute": "compute, scoring included"}
_Y = {"score": "score", "nll": "held-out answer NLL (nats a token)"}
# Okabe and Ito's palette, which colour-blind readers can tell apart.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKERS = "os^vDPX*<>"


def draw(all_lines: Sequence[Line], folder: Path) -> list[Path]:
    """Draw a PNG for each model and data set; return the paths.

    Raises:
        UsageError: matplotlib is not installed.
    """
    need("plotting", "report", "matplotlib")
    from matplotlib.figure import Figure

    files = []
    methods = list(dict.fromkeys(line.method for line in all_lines))
    for (model, name), lines in groupby(all_lines, key=lambda line: (line.model, line.data.name)):
        group = list(lines)
        rows = [y for y in _Y if any(line.values(y) for line in group)]
        figure = Figure(figsize=(10, 4.2 * len(rows)), layout="constrained")
        axes = figure.subplots(len(rows), 2, squeeze=False, sharey="row")
        for row, y in enumerate(rows):
            for column, x in enumerate(_X):
                _panel(axes[row][column], group, x, y, methods)
            axes[row][0].set_ylabel(_Y[y])
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
        figure.suptitle(f"{_plain(model)}, {_plain(name)}: mean and 95% interval over seeds")
        path = folder / f"{_file_name(model)}-{_file_name(name)}.png"
        figure.savefig(path, dpi=150)
        files.append(path)
    return files


def _panel(axes: Any, group: Sequence[Line], x: str, y: str, methods: Sequence[str]) -> None:
    factor = 100.0 if y == "score" else 1.0
    labelled_methods: set[str] = set()
    for line in group:
        height = line.mean(y)
        if height is None:
            continue
        # A leading underscore keeps a label out of the legend.
        name = _plain(line.method)
        label = f"_{name}" if line.method in labelled_methods else name
        labelled_methods.add(line.method)
        place = methods.index(line.method)
        colour, marker = _COLOURS[place % len(_COLOURS)], _MARKERS[place % len(_MARKERS)]
        width = line.mean(x)
        if width is None or line.method == FULL:  # the untrained model, or full training
            style = "--" if line.method == FULL else ":"
            axes.axhline(factor * height.mean, color="grey", linestyle=style, label=label)
            continue
        spread = factor * height.half_width if height.n > 1 else None
        axes.errorbar(
            100 * width.mean,
            factor * height.mean,
            yerr=spread,
            color=colour,
            marker=marker,
            capsize=2,
            linestyle="none",
            label=label,
        )
    axes.set_xlabel(f"{_X[x]} (% of full training)")
    axes.set_xlim(left=0)
    axes.grid(alpha=0.3)


def _plain(text: str) -> str:
    """Escape dollars, between which matplotlib would set mathematics."""
    return text.replace("$", r"\$")


def _file_name(text: str) -> str:
    return "".join(c if c.isalnum() else "-" for c in text)[:80]
