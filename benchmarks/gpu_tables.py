"""The page of what was measured on a GPU, and whether its checks hold."""

import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from gpu_heads import BACKBONE, FUSED, OURS, RATIOS
from gpu_steps import SHARES, STOCK

Q125, Q25, FULL = "q-tuning 12.5% x 50%", "q-tuning 25% x 50%", "ratio 1.0"
CAPTION = """\
Seconds are from the end of a step to the end of the next, after the first two of a run: median
(lowest to highest). The ways take turns; each round has other rows, the same for all ways, and **of
stock** is the ratio of medians within a round: median (lowest to highest) over the rounds.
**slowest** is the slowest step over the median one. Passes are forward passes through the backbone
a step. Shares are of the time of the steps. The **bound** is the arithmetic of a step alone:
backbone and a bare product at answer positions for all candidates, then forward, backward and the
optimizer for the share that is kept, in one pass; the fastest of one, two and four scoring passes.
"""
Rows = Sequence[dict[str, Any]]


class Range(NamedTuple):
    """A median and the range around it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Range":
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values))

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def holds(content: dict[str, Any]) -> bool:
    """Return whether all checks hold and no section failed.

    A check against a run that does not repeat itself proves nothing, so it cannot fail.
    """
    return (
        all(one["ok"] or not one["repeats_itself"] for one in content["checks"])
        and all(one["ok"] is not False for one in (*content["heads"], *content["pruners"]))
        and not any(one["said"].startswith("FAILED") for one in content["sections"])
    )


def document(content: dict[str, Any]) -> str:
    """Make the page."""
    session = content["session"]
    machine = session["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in session["versions"].items())
    changed = " with uncommitted changes" if session["uncommitted_changes"] else ""
    parts = [
        "# On a GPU\n",
        f"`{session['command']}`, {session['date']}, commit {session['commit']}{changed}. "
        f"{machine['gpu']}; {machine['cpu']}, {machine['cores']} cores. {versions}.\n",
        _section("Goals", _goals(content)),
        _section("Checks", _checks(content)),
        _section("Heads", _heads(content["heads"])),
        *_steps(content),
        _section("Synchronisations a step", _waits(content["waits"])),
        _section("The GPU in a step", _profiles(content["profiles"])),
        _section("Scoring alone, autocast", _scoring(content["scoring"])),
        _section("Sections", _sections(content["sections"])),
    ]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(map(str, line)) + " |\n" for line in lines)


def _section(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _checks(content: dict[str, Any]) -> str:
    rows = [
        [
            one["claim"],
            "yes" if one["ok"] else "NO" if one["repeats_itself"] else "open",
            "yes" if one["repeats_itself"] else "no",
            f"{one['furthest']:.2g}",
        ]
        for one in content["checks"]
    ]
    if content["pruners"]:
        bad = [one for one in content["pruners"] if not one["ok"]]
        n = len(content["pruners"])
        rows.append(["every pruner takes two steps", f"{n - len(bad)} of {n}", "", ""])
        rows += [[f"{o['sample_pruner']} x {o['token_pruner']}", o["said"], "", ""] for o in bad]
    head = ["claim", "holds", "the run repeats itself", "largest difference of a weight"]
    return _table(head, rows) if rows else ""


def _heads(found: Rows) -> str:
    rows = [
        [
            one["data"],
            one["way"],
            one["precision"],
            *(f"{one[key]:.2g}" for key in ("log_ppl_mean", "log_ppl_most", "entropy_mean")),
            " / ".join(f"{one['jaccard'][str(ratio)]:.2f}" for ratio in RATIOS),
        ]
        for one in found
    ]
    head = [
        "data",
        "head",
        "precision",
        "log perplexity off by (mean)",
        "at most",
        "entropy off by",
    ]
    percents = " / ".join(f"{100 * ratio:g}" for ratio in RATIOS)
    head.append(f"Jaccard of the kept with float64 logits, {percents}%")
    return _table(head, rows) if rows else ""


def _steps(content: dict[str, Any]) -> list[str]:
    steps = [one for one in content["steps"] if one["seconds"]]
    parts = []
    for setting in dict.fromkeys(one["setting"] for one in steps):
        runs = [one for one in steps if one["setting"] == setting]
        rows = [_row(runs, way) for way in dict.fromkeys(one["way"] for one in runs)]
        rows += [_bound_row(runs, bound) for bound in _bounds(content, setting)]
        head = ["way", "seconds", "of stock", "slowest", "passes, scoring / training"]
        head += [" / ".join(SHARES), "peak GiB"]
        parts.append(_section(f"Steps: {setting}", _table(head, rows)))
    return [CAPTION, *parts] if parts else []


def _row(runs: Rows, way: str) -> list[str]:
    mine = [one for one in runs if one["way"] == way]
    seconds = [second for one in mine for second in one["seconds"]]
    ratios = of_stock(runs, way)
    passes = (statistics.mean(one["passes"][kind] for one in mine) for kind in SHARES[::3])
    shares = [one["shares"] for one in mine if one["shares"]]
    return [
        way,
        str(Range.of(seconds)),
        str(Range.of(ratios)) if ratios else "-",
        f"{slowest(mine):.2f}",
        " / ".join(f"{value:.1f}" for value in passes),
        " / ".join(f"{100 * statistics.mean(s[n] for s in shares):.0f}%" for n in SHARES)
        if shares
        else "-",
        f"{max(one['peak_gib'] for one in mine):.1f}",
    ]


def of_stock(runs: Rows, way: str) -> list[float]:
    """Return the ratio of a way's median step to the stock trainer's, in each round."""
    medians = {(one["way"], one["round"]): statistics.median(one["seconds"]) for one in runs}
    return [
        seconds / medians[STOCK, number]
        for (name, number), seconds in medians.items()
        if name == way and (STOCK, number) in medians
    ]


def slowest(runs: Rows) -> float:
    """Return the slowest step over the median one."""
    seconds = [second for one in runs for second in one["seconds"]]
    return float(max(seconds) / statistics.median(seconds))


def _bounds(content: dict[str, Any], setting: str) -> list[dict[str, Any]]:
    """The fastest bound of each ratio."""
    found = [one for one in content["bounds"] if one["setting"] == setting and one["seconds"]]
    ratios = dict.fromkeys(one["ratio"] for one in found)
    return [
        min(
            (one for one in found if one["ratio"] == ratio),
            key=lambda one: statistics.median(one["seconds"]),
        )
        for ratio in ratios
    ]


def _bound_row(runs: Rows, bound: dict[str, Any]) -> list[str]:
    stock = [second for one in runs if one["way"] == STOCK for second in one["seconds"]]
    median = statistics.median(bound["seconds"])
    return [
        f"bound at {100 * bound['ratio']:g}%",
        str(Range.of(bound["seconds"])),
        f"{median / statistics.median(stock):.3g}" if stock else "-",
        "",
        f"{bound['scoring_passes']} / 1",
        "",
        "",
    ]


def _waits(found: Rows) -> str:
    stock = next((one["a_step"] for one in found if one["way"] == STOCK), None)
    head = ["way", "a step", "beyond stock", "in scoring and selection", "most at"]
    rows = [
        [
            one["way"],
            f"{one['a_step']:g}",
            "-" if stock is None else f"{one['a_step'] - stock:g}",
            f"{one['in_scoring_and_selection']:g}",
            ", ".join(f"{where} {n:g}" for where, n in list(one["where"].items())[:4]),
        ]
        for one in found
    ]
    return _table(head, rows) if rows else ""


def _profiles(found: Rows) -> str:
    rows = [
        [
            one["way"],
            f"{one['seconds']:.3g}",
            f"{100 * one['busy']:.0f}%",
            ", ".join(f"{name} {n}" for name, n in one["calls"].items()),
        ]
        for one in found
    ]
    return _table(["way", "seconds", "busy", "calls that wait"], rows) if rows else ""


def _scoring(found: Rows) -> str:
    rows = [
        [
            one["data"],
            one["way"],
            f"{one['tokens_a_second']:,.0f}",
            _number(_of_backbone(found, one["data"], one["way"])),
            f"{one['first_tokens_a_second']:,.0f}",
            one["passes"],
        ]
        for one in found
    ]
    head = ["data", "way", "tokens a second", "of the backbone", "the first time", "passes"]
    return _table(head, rows) if rows else ""


def _of_backbone(found: Rows, data: str, way: str) -> float | None:
    speeds = {one["way"]: one["tokens_a_second"] for one in found if one["data"] == data}
    return speeds[way] / speeds[BACKBONE] if way in speeds and BACKBONE in speeds else None


def _sections(found: Rows) -> str:
    rows = [[one["name"], one["said"], f"{one['seconds']:.1f}"] for one in found]
    return _table(["section", "", "seconds"], rows) if rows else ""


def _goals(content: dict[str, Any]) -> str:
    """Measured figures beside the goals; what was not measured says so."""
    steps, heads, waits = (
        [one for one in content[kind] if one.get("seconds", True)]
        for kind in ("steps", "heads", "waits")
    )

    def ratio(model: str, way: str) -> float | None:
        ratios = of_stock([one for one in steps if one["setting"].startswith(model)], way)
        return statistics.median(ratios) if ratios else None

    def both(way: str, figure: Any) -> list[float]:
        mine = [one for one in steps if one["setting"].startswith("1.7B") and one["way"] == way]
        return [figure(mine)] if mine else []

    peaks = [both(way, lambda runs: max(o["peak_gib"] for o in runs)) for way in (Q125, STOCK)]
    slow = [both(way, slowest) for way in (Q125, STOCK)]
    syncs = {one["way"]: one["a_step"] for one in waits}
    errors = [
        one["log_ppl_mean"]
        for one in heads
        if (one["way"], one["precision"], one["data"]) == (OURS, "autocast", "gsm8k")
    ]
    heads_found = [_of_backbone(content["scoring"], "gsm8k", way) for way in (OURS, FUSED)]
    beyond = syncs[Q125] - syncs[STOCK] if {Q125, STOCK} <= {*syncs} else None
    rows = [
        ["1.7B, 12.5% x 50%, of stock", ratio("1.7B", Q125), "0.55"],
        ["8B, 12.5% x 50%, of stock", ratio("8B", Q125), "0.45"],
        ["1.7B, 25% x 50%, of stock", ratio("1.7B", Q25), "0.62"],
        ["1.7B, ratio 1.0, of stock", ratio("1.7B", FULL), "at most 1.02"],
        ["scoring, our head, of the backbone", heads_found[0], "0.80"],
        ["scoring, TRL's fused head, of the backbone", heads_found[1], ""],
        ["mean error of log perplexity, autocast", errors[0] if errors else None, "at most 0.003"],
        ["synchronisations a step beyond stock", beyond, "1"],
        [
            "1.7B, peak memory at 12.5%, of stock",
            peaks[0][0] / peaks[1][0] if all(peaks) else None,
            "0.34 to 0.40",
        ],
        [
            "1.7B, slowest over median step, 12.5%",
            slow[0][0] if slow[0] else None,
            f"stock: {_number(slow[1][0])}" if slow[1] else "that of stock",
        ],
    ]
    return _table(["", "measured", "goal"], [[name, _number(v), goal] for name, v, goal in rows])


def _number(value: Any) -> str:
    return "not measured" if value is None else f"{value:.3g}"
