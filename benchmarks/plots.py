"""Figures: a panel for each setting, a bar for each method."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cases import ALL, SUITES
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from summary import SHARES, ForwardRow, Row, forward_rows, rows, settings, suite_runs

# Okabe and Ito's palette, which colour-blind readers can tell apart.
BLUE, ORANGE, GREEN, PINK, GREY, BLACK = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#BBBBBB",
    "#000000",
)
PART_COLOURS = dict(zip(SHARES, (ORANGE, PINK, GREEN, BLUE, GREY), strict=True))
Panel = Callable[[Axes, list[Row]], None]


def draw(content: dict[str, Any], folder: Path, stem: str) -> list[Path]:
    """Draw the figures of all suites; return the paths."""
    files = []
    for suite in (*ALL, *(name for name in SUITES if name not in ALL)):
        runs = suite_runs(content, suite)
        panels = {name: suite_rows for name in settings(runs) if (suite_rows := rows(runs, name))}
        passes = {
            name: pass_rows for name in settings(runs) if (pass_rows := forward_rows(runs, name))
        }
        figures: list[tuple[str, Figure]] = []
        if panels and suite != "memory":
            figures.append(("time", _figure(panels, times, "time, of the stock trainer's", _BOUND)))
            figures.append(("shares", _figure(panels, shares, "share of the time", _PARTS)))
        if panels:
            figures.append(("memory", _figure(panels, memory, "peak memory, GiB", _MEMORY)))
        if passes:
            figures.append(("scoring", _figure(passes, forwards, "MiB above the model", [])))
        for kind, figure in figures:
            name = f"{stem}-{suite}.png" if kind == suite else f"{stem}-{suite}-{kind}.png"
            figure.savefig(folder / name, dpi=150)
            files.append(folder / name)
    return files


_BOUND = [
    Patch(color=BLUE, label="measured (median; line: lowest to highest)"),
    Line2D([], [], color=ORANGE, linewidth=3, label="bound"),
]
_PARTS = [Patch(color=PART_COLOURS[name], label=name) for name in SHARES]
_MEMORY = [
    Patch(color=GREY, label="process with the model loaded"),
    Patch(color=BLUE, label="above it"),
]


def _figure(panels: dict[str, list[Any]], panel: Any, axis: str, legend: list[Any]) -> Figure:
    """Draw a grid of panels, two in a row, with one legend above all panels."""
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    bars = max(len(panel_rows) for panel_rows in panels.values())
    height = lines * (0.27 * bars + 0.9) + (0.5 if legend else 0.1)
    figure = Figure(figsize=(1.0 + 5.2 * columns, height), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True)
    left_names: list[str] = []
    for place, (axes, (name, panel_rows)) in enumerate(
        zip(grid.flat, panels.items(), strict=False)
    ):
        panel(axes, panel_rows)
        axes.set_title(name, fontsize=10, loc="right", fontweight="bold")
        # A panel with the same methods as its left neighbour has no names.
        names = [row.method for row in panel_rows]
        has_same_names = names == left_names and place % columns
        left_names = names
        axes.set_yticks(
            range(len(names)), [""] * len(names) if has_same_names else names, fontsize=8
        )
        axes.invert_yaxis()
        axes.set_xlabel(axis, fontsize=9)
        axes.tick_params(axis="x", labelsize=8, labelbottom=True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in list(grid.flat)[len(panels) :]:
        axes.set_visible(False)
    if legend:
        figure.legend(
            handles=legend, loc="outside upper left", ncols=len(legend), fontsize=9, frameon=False
        )
    return figure


def times(axes: Axes, found: list[Row]) -> None:
    """Draw measured ratios with their range, and the bound as a mark across the bar."""
    for place, row in enumerate(found):
        if row.ratio is None:
            continue
        middle, low, high = row.ratio
        axes.barh(place, middle, color=BLUE, height=0.62)
        axes.hlines(place, low, high, color=BLACK, linewidth=1)
        furthest = high if row.bound is None else max(high, row.bound.median)
        axes.text(furthest + 0.015, place, f"{middle:.2f}", va="center", fontsize=8)
        if row.bound is not None:
            axes.vlines(row.bound.median, place - 0.42, place + 0.42, color=ORANGE, linewidth=3)
    axes.axvline(1.0, color=GREY, linewidth=1, zorder=0)
    highest = max((row.ratio.high for row in found if row.ratio), default=1.0)
    axes.set_xlim(0, max(1.15, highest + 0.12, axes.get_xlim()[1]))  # panels share the x axis


def shares(axes: Axes, found: list[Row]) -> None:
    """Draw the parts of each method's time, one after the other."""
    for place, row in enumerate(found):
        left = 0.0
        for name in SHARES:
            width = row.shares[name]
            axes.barh(place, width, left=left, color=PART_COLOURS[name], height=0.62)
            if width >= 0.08:
                axes.text(
                    left + width / 2,
                    place,
                    f"{width:.0%}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if name in ("training", "selection") else BLACK,
                )
            left += width
    axes.set_xlim(0, 1)


def memory(axes: Axes, found: list[Row]) -> None:
    """Draw peak memory in two parts: the process with the model loaded, and the rest."""
    for place, row in enumerate(found):
        peak, working = row.peak.median / 1024, row.working.median / 1024
        axes.barh(place, peak - working, color=GREY, height=0.62)
        axes.barh(place, working, left=peak - working, color=BLUE, height=0.62)
        axes.text(peak, place, f" {peak:.1f}", va="center", fontsize=8)
    axes.margins(x=0.1)


def forwards(axes: Axes, found: list[ForwardRow]) -> None:
    """Draw the memory of one forward pass above the loaded model."""
    for place, row in enumerate(found):
        axes.barh(place, row.working.median, color=BLUE, height=0.62)
        axes.text(row.working.median, place, f" {row.working.median:,.0f}", va="center", fontsize=8)
    axes.margins(x=0.12)
