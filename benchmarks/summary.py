"""From measurements to rows: ratios to the stock trainer and to the bound, paired by repeat."""

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
        """Of some numbers, at least one."""
        values = list(values)
        return cls(median(values), min(values), max(values))


SHARES = ("scoring", "selection", "collation", "training", "rest")


@dataclass(frozen=True)
class Row:
    """A method on a setting.

    Attributes:
        setting: The setting's name.
        method: The method's name.
        repeats: How often it was measured.
        ratio: Wall-clock time of the stock trainer's; None without a stock run to compare with.
        bound: The bound, as the same ratio; None if the stock trainer's own or not measured.
        over_bound: Measured over bound.
        over_strict: Measured over the strict bound.
        tokens_a_second: Input tokens of all candidates, a second of wall-clock time.
        forward: Tokens through a forward pass, scoring and training, of all input tokens.
        backward: Tokens through a backward pass, of all input tokens.
        plain: ``(scored + 3 trained) / (3 all)``.
        shares: Share of the time in each of ``SHARES``.
        peak: Highest resident memory, MiB.
        working: The same above the loaded model, MiB.
        padding: Tokens through the backbone over those of the samples.
        earlier: Time of making earlier scores, of the stock trainer's.
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
    """A forward pass by itself: seconds, and memory above the loaded model in MiB."""

    setting: str
    method: str
    working: Range
    seconds: Range


def suite_runs(content: dict[str, Any], suite: str) -> list[Run]:
    """The measurements of a suite."""
    return [run for run in content["runs"] if run["suite"] == suite]


def settings(runs: list[Run]) -> list[str]:
    """Names of the settings, in the order of measuring."""
    return list(dict.fromkeys(run["setting"]["name"] for run in runs))


def rows(runs: list[Run], setting: str) -> list[Row]:
    """A row for each method that trains, in the order of the plan."""
    own = [run for run in runs if run["setting"]["name"] == setting]
    beside = {run["repeat"]: run for run in own if run["method"]["kind"] == "stock"}
    forward = {run["repeat"]: run for run in own if run["method"]["kind"] == "forward"}
    methods: dict[str, list[Run]] = {}
    for run in own:
        if run["method"]["kind"] in ("stock", "pruning"):
            methods.setdefault(run["method"]["name"], []).append(run)
    return [_row(setting, name, found, beside, forward) for name, found in methods.items()]


def speeds(stock: Run, forward: Run, strict: bool = False) -> Speeds:
    """The speeds that a repeat's stock run and forward run measured; strict: of padded tokens."""
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
    """The bound of a run, in seconds."""
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
    compared = [(run, stock[run["repeat"]]) for run in runs if run["repeat"] in stock]
    pruning = runs[0]["method"]["kind"] == "pruning"
    bounded = [
        (run, full, forward[run["repeat"]])
        for run, full in compared
        if pruning and run["repeat"] in forward
    ]

    def per_input(part: Callable[[Run], float]) -> float:
        return float(median(part(run) / run["counts"]["input_tokens"] for run in runs))

    def counted(*names: str) -> Callable[[Run], float]:
        return lambda run: float(sum(run["counts"][n] for n in names))

    def padding(run: Run) -> float:
        # What a smaller scorer pads is not seen.
        seen = ("trained", "scored") if run["padded"]["scored"] else ("trained",)
        own = sum(run["counts"][f"{name}_tokens"] for name in seen)
        return float(sum(run["padded"][name] for name in seen) / own)

    return Row(
        setting=setting,
        method=name,
        repeats=len(runs),
        ratio=_range(run["seconds"] / full["seconds"] for run, full in compared),
        bound=_range(bound_of(*three) / three[1]["seconds"] for three in bounded),
        over_bound=_range(three[0]["seconds"] / bound_of(*three) for three in bounded),
        over_strict=_range(
            three[0]["seconds"] / bound_of(*three, strict=True) for three in bounded
        ),
        tokens_a_second=Range.of(run["counts"]["input_tokens"] / run["seconds"] for run in runs),
        forward=per_input(counted("scored_tokens", "trained_tokens")),
        backward=per_input(counted("trained_tokens")),
        plain=median(_plain(run["counts"]) for run in runs) if pruning else None,
        shares=_shares(runs),
        peak=Range.of(run["memory_mib"]["peak"] for run in runs),
        working=Range.of(run["memory_mib"]["peak"] - run["memory_mib"]["loaded"] for run in runs),
        padding=median(padding(run) for run in runs),
        earlier=_earlier(compared),
    )


def _plain(counts: dict[str, Any]) -> float:
    return token_bound(counts["scored_tokens"], counts["trained_tokens"], counts["input_tokens"])


def _earlier(compared: list[tuple[Run, Run]]) -> float:
    shares = [run.get("earlier_scores_seconds", 0.0) / full["seconds"] for run, full in compared]
    return float(median(shares or [0.0]))


def _range(values: Iterable[float]) -> Range | None:
    values = list(values)
    return Range.of(values) if values else None


def _shares(runs: list[Run]) -> dict[str, float]:
    """Median shares; what is in no other part is the rest: the optimizer, clipping, reading rows.

    The stock trainer's collation is in its rest.
    """

    def parts(run: Run) -> dict[str, float]:
        counts = run["counts"]
        known = {name: counts[f"{name}_seconds"] for name in ("scoring", "selection", "collation")}
        known["training"] = run["passes_seconds"]
        if run["method"]["options"].get("one_pass"):  # scored within the training passes
            known["training"] -= known["scoring"] + known["selection"]
        known["rest"] = max(0.0, run["seconds"] - sum(known.values()))
        return {name: seconds / run["seconds"] for name, seconds in known.items()}

    of_each = [parts(run) for run in runs]
    return {name: median(shares[name] for shares in of_each) for name in SHARES}


def forward_rows(runs: list[Run], setting: str) -> list[ForwardRow]:
    """A row for each forward pass whose memory was measured."""
    found: dict[str, list[Run]] = {}
    for run in runs:
        if run["setting"]["name"] == setting and run["method"]["kind"].startswith("peak-"):
            found.setdefault(run["method"]["name"], []).append(run)

    def working(run: Run) -> float:
        return float(run["memory_mib"]["peak"] - run["memory_mib"]["resting"])

    return [
        ForwardRow(
            setting,
            name,
            Range.of(working(run) for run in own),
            Range.of(run["seconds"] for run in own),
        )
        for name, own in found.items()
    ]
