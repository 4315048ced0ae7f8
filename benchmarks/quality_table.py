"""Tables and a plot of the quality study, from its JSON alone.

    python benchmarks/quality_table.py benchmarks/results/quality.json

Writes ``quality.md`` and ``quality.png`` beside it. Intervals are means over the seeds with 95%
confidence intervals by Student's t; differences are taken seed by seed, so what a seed does to
both methods falls out. With one seed there is a figure and no interval.
"""

import argparse
import itertools
import json
import math
import sys
import textwrap
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from quality_numbers import chance_jaccard, jaccard, unpack_bits
from quality_study import Method, reference

from qtuning.compare.statistics import Interval, t_interval

Record = dict[str, Any]
Figure = Callable[[Record], float]


def nll(record: Record) -> float:
    """Held-out answer NLL, nats a token."""
    return float(record["held_out"]["nll"])


def accuracy(record: Record) -> float:
    """Share of the problems solved, in percent."""
    return 100 * float(record["task"]["accuracy"])


def total_seconds(record: Record) -> float:
    """Wall-clock time of training."""
    return float(record["budget"]["total_seconds"])


class Results:
    """The cells of one setting, by method and seed."""

    def __init__(self, whole: Record, setting: str) -> None:
        """Take them from the study's JSON."""
        self.methods = [Method(**values) for values in whole["methods"].values()]
        self.setting: Record = whole["settings"][setting]
        self.records: dict[str, dict[int, Record]] = {}
        for record in whole["cells"].values():
            if record["setting"] == setting:
                self.records.setdefault(record["method"], {})[record["seed"]] = record

    def of(self, method: str | None) -> dict[int, Record]:
        """Cells by seed; empty if there are none."""
        return self.records.get(method or "", {})

    def mean(self, method: str, figure: Figure) -> Interval | None:
        """Over the seeds; None without cells."""
        values = [figure(record) for _, record in sorted(self.of(method).items())]
        return t_interval(values) if values else None

    def difference(self, method: str, other: str | None, figure: Figure) -> Interval | None:
        """Paired by seed, method minus the other; None if they share no seed."""
        ours, theirs = self.of(method), self.of(other)
        seeds = sorted(ours.keys() & theirs.keys())
        if method == other or not seeds:
            return None
        return t_interval([figure(ours[seed]) - figure(theirs[seed]) for seed in seeds])

    def agreement(self, method: str, other: str | None) -> list[Interval]:
        """Jaccard of the kept sets, an interval an epoch; empty if they cannot be compared.

        Raises:
            ValueError: Two runs of one seed did not see the data in the same order.
        """
        ours, theirs = self.of(method), self.of(other)
        if method == other:
            return []
        by_epoch: list[list[float]] = []
        for seed in sorted(ours.keys() & theirs.keys()):
            pairs = zip(ours[seed]["decisions"], theirs[seed]["decisions"], strict=True)
            for epoch, (a, b) in enumerate(pairs):
                if a["order"] != b["order"]:
                    raise ValueError(f"{method} and {other}, seed {seed}: the pools differ")
                kept = unpack_bits(a["kept"], a["n"]), unpack_bits(b["kept"], b["n"])
                by_epoch += [[]] * (epoch + 1 - len(by_epoch))
                by_epoch[epoch] = [*by_epoch[epoch], jaccard(*kept)]
        return [t_interval(values) for values in by_epoch]


def quality_rows(results: Results) -> list[list[str]]:
    """A row a method: what it learned, and by how much that differs from exact and random."""
    task = bool(results.setting["solve_rows"])
    header = ["method", "budget", "seeds", "NLL", "minus exact", "minus random"]
    if task:
        header += ["solved %", "minus exact", "minus random"]
    rows = [header]
    for method in results.methods:
        if not results.of(method.name):
            continue
        row = [method.title, method.budget or "-", str(len(results.of(method.name)))]
        for figure, places in ((nll, 4), (accuracy, 1))[: 2 if task else 1]:
            row.append(_number(results.mean(method.name, figure), places))
            for title in ("exact", "random"):
                other = reference(method.budget, title)
                row.append(_signed(results.difference(method.name, other, figure), places))
        rows.append(row)
    return rows


def cost_rows(results: Results) -> list[list[str]]:
    """A row a method: agreement of its decisions with exact's, and what they cost."""
    epochs = results.setting["epochs"]
    header = ["method", "budget", *(f"epoch {n}" for n in range(1, epochs + 1))]
    header += ["answer tokens %", "scored tokens %", "scoring s", "total s", "total / exact"]
    rows = [header]
    for method in results.methods:
        records = results.of(method.name)
        if not records or not method.trained:
            continue
        exact = reference(method.budget, "exact")
        agreement = [_number(one, 2) for one in results.agreement(method.name, exact)]
        ratios = [
            total_seconds(record) / total_seconds(results.of(exact)[seed])
            for seed, record in records.items()
            if seed in results.of(exact)
        ]
        shares = [_share("kept_answer_tokens", "answer_tokens")]
        shares += [_share("scored_tokens", "input_tokens")]
        row = [method.title, method.budget or "-", *(agreement or ["-"] * epochs)]
        row += [_number(results.mean(method.name, share), 1) for share in shares]
        row += [_number(results.mean(method.name, _scoring_seconds), 0)]
        row += [_number(results.mean(method.name, total_seconds), 0)]
        row += [f"{sorted(ratios)[len(ratios) // 2]:.2f}" if ratios else "-"]
        rows.append(row)
    return rows


def _scoring_seconds(record: Record) -> float:
    return float(record["budget"]["scoring_seconds"])


def _share(part: str, whole: str) -> Figure:
    return lambda record: 100 * float(record["budget"][part]) / float(record["budget"][whole])


def _number(interval: Interval | None, places: int) -> str:
    if interval is None:
        return "-"
    text = f"{interval.mean:.{places}f}"
    known = not math.isnan(interval.half_width)
    return f"{text} ± {interval.half_width:.{places}f}" if known else text


def _signed(interval: Interval | None, places: int) -> str:
    """Bold where the interval lies on one side of zero."""
    if interval is None:
        return "-"
    text = ("+" if interval.mean >= 0 else "") + _number(interval, places)
    return f"**{text}**" if interval.excludes_zero else text


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table; the first row is its header."""
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def report(whole: Record) -> str:
    """The whole page."""
    machine = whole["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    parts = [
        "# What the cost-saving switches cost in quality",
        "Made by `benchmarks/quality_table.py` from `quality.json`; `benchmarks/quality.py` says "
        "what was done. Mean ± half width of the 95% confidence interval (t) over the seeds; "
        "differences are paired by seed, **bold** where the interval excludes zero. A single seed "
        "gives no interval.",
        f"Machine: {machine['cpu']}, {machine['cores']} cores, CPU only; {versions}. "
        "Times are wall-clock; `total / exact` is the median over the seeds.",
    ]
    for name, setting in whole["settings"].items():
        results = Results(whole, name)
        if not results.records:
            continue
        parts += [
            f"## {name}: {setting['title']}",
            f"{setting['rows']} rows, {setting['epochs']} epochs, pools of "
            f"{setting['batch'] * setting['accumulation']}, learning rate "
            f"{setting['learning_rate']:g}; NLL on {setting['nll_rows']} test rows"
            + _task_note(results, setting),
            markdown(quality_rows(results)),
            "Jaccard of the kept samples with exact's of the same seed, by epoch; shares of all "
            f"candidates' tokens. {_chance_note(results)}",
            markdown(cost_rows(results)),
        ]
    parts += _prepared_notes(whole["prepared"])
    return "\n\n".join(parts) + "\n"


def _task_note(results: Results, setting: Record) -> str:
    if not setting["solve_rows"]:
        return "; no task accuracy, the answers are free text."
    errors = [r["task"]["standard_error"] for by in results.records.values() for r in by.values()]
    return (
        f"; solved: greedy decoding of {setting['solve_rows']} test problems, exact match of the "
        f"number. Binomial standard error of one run: at most {100 * max(errors):.1f} points."
    )


def _chance_note(results: Results) -> str:
    notes = []
    for budget in dict.fromkeys(method.budget for method in results.methods if method.budget):
        names = [m.name for m in results.methods if m.budget == budget]
        ratio = next(m.config["sample_ratio"] for m in results.methods if m.budget == budget)
        if any(results.of(name) for name in names):
            notes.append(f"{chance_jaccard(ratio):.2f} at {budget}")
    return f"Two random choices would have {', '.join(notes)}." if notes else ""


def _prepared_notes(prepared: Record) -> list[str]:
    notes = []
    for name, made in prepared.items():
        if "recipe" in made:
            held_out = ", ".join(f"{n} {v['nll']:.3f}" for n, v in made["held_out"].items())
            notes.append(
                f"- smaller scorer: the first {made['recipe']['layers']} layers, "
                f"{made['parameters'] / 1e6:.0f}M parameters, fine-tuned on rows outside the "
                f"study; held-out NLL {held_out}"
            )
        else:
            seconds = made["budget"]["scoring_seconds"]
            notes.append(f"- {name.rsplit('-', 1)[0]} scores: {seconds:.0f} s of scoring, once")
    return ["## Made beforehand, not in the times above", "\n".join(notes)] if notes else []


def plot(whole: Record, path: Path) -> None:
    """Held-out NLL over time, a panel a setting, a point a trained method."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    names = [name for name in whole["settings"] if Results(whole, name).records]
    figure, axes = pyplot.subplots(1, len(names), figsize=(6.5 * len(names), 5), squeeze=False)
    for name, axis in zip(names, axes[0], strict=True):
        results = Results(whole, name)
        markers = itertools.cycle("os^vD*PX")  # not by colour alone
        for method in results.methods:
            if not results.of(method.name) or not method.trained:
                continue
            seconds = results.mean(method.name, total_seconds)
            held_out = results.mean(method.name, nll)
            if seconds is None or held_out is None:
                continue
            error = 0.0 if math.isnan(held_out.half_width) else held_out.half_width
            style = {"fmt": next(markers), "capsize": 3, "label": method.title}
            axis.errorbar(seconds.mean, held_out.mean, yerr=error, **style)
        axis.set_title(textwrap.fill(results.setting["title"], 50), fontsize=10)
        axis.set_xlabel("seconds of training, scoring included (log)")
        axis.set_xscale("log")
        axis.legend(fontsize=8)
        axis.set_ylabel("held-out answer NLL, nats a token")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments: Iterable[str] | None = None) -> int:
    """Write the page and the picture beside the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("results", type=Path, help="the study's JSON")
    options = parser.parse_args(None if arguments is None else list(arguments))
    whole = json.loads(options.results.read_text())
    options.results.with_suffix(".md").write_text(report(whole))
    plot(whole, options.results.with_suffix(".png"))
    print(f"wrote {options.results.with_suffix('.md')} and .png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
