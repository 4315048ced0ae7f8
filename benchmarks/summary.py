"""Rows of tables from measurements: ratios to stock trainer and bound, paired by repeat."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from bound import Speeds, bound_seconds, token_bound

Run = dict[str, Any]


class Range(NamedTuple):
    """Median and range over the repeats."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Iterable[float]) -> "Range":
        """Make the range of numbers, of which there must be at least one."""
        values = list(values)
        return cls(median(values), min(values), max(values))


SHARES = ("scoring", "selection", "collation", "training", "rest")


@dataclass(frozen=True)
class Row:
    """The figures of a method on a setting.

    Attributes:
        setting: The setting's name.
        method: The method's name.
        repeats: Number of measurements.
        ratio: Wall-clock time over the stock trainer's; None without a stock run to compare with.
        bound: The bound over the stock trainer's time; None for the stock trainer, or if it was
            not measured.
        over_bound: Measured time over the bound.
        over_strict: Measured time over the strict bound.
        tokens_a_second: Input tokens of all candidates per second of wall-clock time.
        forward: Share of the input tokens that go through a forward pass, scoring and training.
        backward: Share of the input tokens that go through a backward pass.
        plain: The plain count ``(scored + 3 trained) / (3 all)``; None without pruning.
        shares: Share of the time in each of ``SHARES``.
        peak: Highest resident memory, MiB.
        working: Highest resident memory above the loaded model, MiB.
        padding: Tokens through the backbone, padding included, over the samples' tokens.
        earlier: Time to make earlier scores over the stock trainer's time.
    """

    setting: str
    method: str
    repeats: int
    ratio: Range | None
    bound: Range | None
    over_bound: Range | None
    over_strict: Range | None
    tokens_a_second: Range
    forward: float
    backward: float
    plain: float | None
    shares: dict[str, float]
    peak: Range
    working: Range
    padding: float
    earlier: float


@dataclass(frozen=True)
class ForwardRow:
    """The figures of a single forward pass: seconds, and memory above the loaded model in MiB."""

    setting: str
    method: str
    working: Range
    seconds: Range


def suite_runs(content: dict[str, Any], suite: str) -> list[Run]:
    """Return the measurements of a suite."""
    return [run for run in content["runs"] if run["suite"] == suite]


def settings(runs: list[Run]) -> list[str]:
    """Return the names of the settings, in the order of measuring."""
    return list(dict.fromkeys(run["setting"]["name"] for run in runs))


def rows(runs: list[Run], setting: str) -> list[Row]:
    """Make a row for each method that trains, in the order of the plan."""
    setting_runs = [run for run in runs if run["setting"]["name"] == setting]
    stock = {run["repeat"]: run for run in setting_runs if run["method"]["kind"] == "stock"}
    forward = {run["repeat"]: run for run in setting_runs if run["method"]["kind"] == "forward"}
    methods: dict[str, list[Run]] = {}
    for run in setting_runs:
        if run["method"]["kind"] in ("stock", "pruning"):
            methods.setdefault(run["method"]["name"], []).append(run)
    return [
        _row(setting, name, method_runs, stock, forward) for name, method_runs in methods.items()
    ]


def speeds(stock: Run, forward: Run, strict: bool = False) -> Speeds:
    """Return the speeds of a repeat's stock and forward runs; ``strict`` counts padding too."""
    rest = stock["seconds"] - stock["passes_seconds"]
    scored, trained = forward["forward_tokens"], stock["counts"]["trained_tokens"]
    if strict:
        scored, trained = forward["padded"]["scored"], stock["padded"]["trained"]
    return Speeds(
        forward=scored / forward["seconds"],
        training=trained / stock["passes_seconds"],
        rest=rest / stock["counts"]["steps"],
    )


def bound_of(run: Run, stock: Run, forward: Run, strict: bool = False) -> float:
    """Return the bound of a run in seconds."""
    counts = run["counts"]
    return bound_seconds(
        counts["scored_tokens"],
        counts["trained_tokens"],
        counts["steps"],
        speeds(stock, forward, strict),
    )


def _row(
    setting: str, name: str, runs: list[Run], stock: dict[int, Run], forward: dict[int, Run]
) -> Row:
    stock_pairs = [(run, stock[run["repeat"]]) for run in runs if run["repeat"] in stock]
    pruning = runs[0]["method"]["kind"] == "pruning"
    triples = [
        (run, full, forward[run["repeat"]])
        for run, full in stock_pairs
        if pruning and run["repeat"] in forward
    ]

    def per_input(part: Callable[[Run], float]) -> float:
        return float(median(part(run) / run["counts"]["input_tokens"] for run in runs))

    def counted(*names: str) -> Callable[[Run], float]:
        return lambda run: float(sum(run["counts"][n] for n in names))

    def padding(run: Run) -> float:
        # The padding of a smaller scorer is not counted.
        parts = ("trained", "scored") if run["padded"]["scored"] else ("trained",)
        sample_tokens = sum(run["counts"][f"{name}_tokens"] for name in parts)
        return float(sum(run["padded"][name] for name in parts) / sample_tokens)

    return Row(
        setting=setting,
        method=name,
        repeats=len(runs),
        ratio=_range(run["seconds"] / full["seconds"] for run, full in stock_pairs),
        bound=_range(bound_of(*triple) / triple[1]["seconds"] for triple in triples),
        over_bound=_range(triple[0]["seconds"] / bound_of(*triple) for triple in triples),
        over_strict=_range(
            triple[0]["seconds"] / bound_of(*triple, strict=True) for triple in triples
        ),
        tokens_a_second=Range.of(run["counts"]["input_tokens"] / run["seconds"] for run in runs),
        forward=per_input(counted("scored_tokens", "trained_tokens")),
        backward=per_input(counted("trained_tokens")),
        plain=median(_plain(run["counts"]) for run in runs) if pruning else None,
        shares=_shares(runs),
        peak=Range.of(run["memory_mib"]["peak"] for run in runs),
        working=Range.of(run["memory_mib"]["peak"] - run["memory_mib"]["loaded"] for run in runs),
        padding=median(padding(run) for run in runs),
        earlier=_earlier(stock_pairs),
    )


def _plain(counts: dict[str, Any]) -> float:
    return token_bound(counts["scored_tokens"], counts["trained_tokens"], counts["input_tokens"])


def _earlier(pairs: list[tuple[Run, Run]]) -> float:
    shares = [run.get("earlier_scores_seconds", 0.0) / full["seconds"] for run, full in pairs]
    return float(median(shares or [0.0]))


def _range(values: Iterable[float]) -> Range | None:
    values = list(values)
    return Range.of(values) if values else None


def _shares(runs: list[Run]) -> dict[str, float]:
    """Return the median share of each part of the time.

    The rest is the time in no other part: optimizer, clipping, reading rows, and the collation of
    the stock trainer.
    """

    def parts(run: Run) -> dict[str, float]:
        counts = run["counts"]
        seconds_of = {
            name: counts[f"{name}_seconds"] for name in ("scoring", "selection", "collation")
        }
        seconds_of["training"] = run["passes_seconds"]
        if run["method"]["options"].get("one_pass"):  # scored within the training passes
            seconds_of["training"] -= seconds_of["scoring"] + seconds_of["selection"]
        seconds_of["rest"] = max(0.0, run["seconds"] - sum(seconds_of.values()))
        return {name: seconds / run["seconds"] for name, seconds in seconds_of.items()}

    run_shares = [parts(run) for run in runs]
    return {name: median(shares[name] for shares in run_shares) for name in SHARES}


def forward_rows(runs: list[Run], setting: str) -> list[ForwardRow]:
    """Make a row for each forward pass whose memory was measured."""
    runs_of: dict[str, list[Run]] = {}
    for run in runs:
        if run["setting"]["name"] == setting and run["method"]["kind"].startswith("peak-"):
            runs_of.setdefault(run["method"]["name"], []).append(run)

    def working(run: Run) -> float:
        return float(run["memory_mib"]["peak"] - run["memory_mib"]["resting"])

    return [
        ForwardRow(
            setting,
            name,
            Range.of(working(run) for run in method_runs),
            Range.of(run["seconds"] for run in method_runs),
        )
        for name, method_runs in runs_of.items()
    ]
