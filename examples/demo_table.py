"""The demo's last table, and the sentence after it that says which run did better."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from qtuning.run.budget import full_run_seconds
from qtuning.step.work import StepCounts


@dataclass(frozen=True)
class Trained:
    """What a run trained on, and what it took.

    Attributes:
        tokens: Answer tokens that gave a loss.
        share: The same as a share of all candidates'.
        seconds: Time of training, with scoring.
        full_seconds: That of training on everything, estimated.
        peak_mib: Highest memory while it trained.
    """

    tokens: int
    share: float
    seconds: float
    full_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Line:
    """A line of the table.

    Attributes:
        name: What was done.
        nll: Held-out answer NLL, in nats a token.
        solved: Held-out problems solved.
        of: Problems that were to be solved.
        trained: None before training.
    """

    name: str
    nll: float
    solved: int
    of: int
    trained: Trained | None = None


def same_tokens(budget: Mapping[str, float], sample_ratio: float) -> dict[str, Any]:
    """Settings of random choice with as many answer tokens as a run trained on.

    Q-Tuning keeps many samples whole, and so more tokens than the two ratios say. There are as many
    samples, unless all of their tokens are too few.

    Args:
        budget: What the run counted (``budget.json``).
        sample_ratio: The run's own.
    """
    share = budget["kept_answer_tokens"] / budget["answer_tokens"]
    sample_ratio = max(sample_ratio, share)
    return {
        "sample_pruner": "random",
        "token_pruner": "random",
        "sample_ratio": sample_ratio,
        "token_ratio": share / sample_ratio,
    }


def full_seconds(budget: Mapping[str, Any]) -> float:
    """Estimated time of training on everything, as in the table of the budget."""
    return full_run_seconds(StepCounts(**budget))


def read_lines(name: str, folder: Path) -> list[Line]:
    """The lines of a run: before training, if it was judged then, and after."""
    outcome = json.loads((folder / "outcome.json").read_text())
    budget = json.loads((folder / "budget.json").read_text())
    trained = Trained(
        tokens=budget["kept_answer_tokens"],
        share=budget["kept_answer_tokens"] / budget["answer_tokens"],
        seconds=budget["total_seconds"],
        full_seconds=full_seconds(budget),
        peak_mib=outcome["peak_mib"],
    )
    before = [Line("before", **outcome["before"])] if "before" in outcome else []
    return [*before, Line(name, **outcome["after"], trained=trained)]


def print_table(lines: Sequence[Line]) -> None:
    """Print the table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("")
    for head in (
        "held-out\nNLL",
        "problems\nsolved",
        "answer tokens\ntrained on",
        "time of\ntraining",
        "peak\nmemory",
        "full run\n(estimated)",
    ):
        table.add_column(head, justify="right")
    for line in lines:
        table.add_row(line.name, f"{line.nll:.3f}", f"{line.solved} of {line.of}", *_cost(line))
    Console().print(table)


def _cost(line: Line) -> list[str]:
    trained = line.trained
    if trained is None:
        return ["-"] * 4
    return [
        f"{trained.tokens:,} ({trained.share:.1%})",
        f"{trained.seconds:.0f} s",
        f"{trained.peak_mib:,.0f} MiB",
        f"{trained.full_seconds:.0f} s",
    ]


def verdict(q_tuning: Line, random: Line) -> str:
    """Which of the two did better, on NLL and on problems, as far as the table shows it."""
    nll = (round(q_tuning.nll, 3), round(random.nll, 3))
    solved = (q_tuning.solved, random.solved)
    by_nll = _better(nll[1] - nll[0])
    by_solved = _better(solved[0] - solved[1])
    figures = (
        f"On held-out NLL {_says(by_nll)} ({nll[0]:.3f} and {nll[1]:.3f}), on problems solved "
        f"{_says(by_solved)} ({solved[0]} and {solved[1]} of {q_tuning.of})"
    )
    winners = frozenset({by_nll, by_solved} - {_TIE})
    return f"{_ALL_IN_ALL[winners]} {figures}. With one run each, small differences may be chance."


_TIE, _Q_TUNING, _RANDOM = "tie", "Q-Tuning", "random choice"

_ALL_IN_ALL = {
    frozenset(): "Neither did better here.",
    frozenset({_Q_TUNING}): "Q-Tuning did better here; in our study of this model it did not "
    "(docs/study.md).",
    frozenset({_RANDOM}): "Random choice did better here, as in our study of this model "
    "(docs/study.md).",
    frozenset({_Q_TUNING, _RANDOM}): "Neither did better in both here; in our study of this model "
    "random choice did better (docs/study.md).",
}


def _better(lead: float) -> str:
    return _Q_TUNING if lead > 0 else _RANDOM if lead < 0 else _TIE


def _says(which: str) -> str:
    return "they are level" if which == _TIE else f"{which} won"
