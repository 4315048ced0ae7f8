"""What a run prints and logs: lines at the start, step metrics, and the budget at the end."""

import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from types import FunctionType

from rich.console import Console
from rich.table import Table
from tqdm.auto import tqdm
from transformers import TrainingArguments

from ..arguments import PruningArguments
from ..core.plane import Q1, Q2, Q3, Q4, Selection
from ..core.ratio import keep_count, share
from ..pruners.pair import Pruners
from ..pruners.protocols import OF_ALONE, OF_IMAGES, SCORES
from ..step.two_pass import StepResult
from ..step.work import StepCounts
from .budget import FORWARD_COST, break_even, budget_table, speed_up_bound

_PREFIX = "pruning/"
_NO_BOUND = (
    "Speed-up: not known beforehand, since a conversation has one forward whichever of its turns "
    "are kept; the budget at the end tells what was computed."
)
TOKEN_WEIGHT = f"{_PREFIX}token_weight"
"""Name of the metric: mean weight that the token weighter gave the kept tokens of a step."""


def start_lines(
    args: PruningArguments,
    pruners: Pruners,
    candidates: int,
    pool: int,
    cost: float,
    scoring: float = FORWARD_COST,
    on_average: bool = False,
) -> list[str]:
    """The lines that are printed when a run starts: what it prunes, speed-up and warnings.

    Args:
        args: The pruning arguments.
        pruners: The sample pruner and the token pruner.
        candidates: Candidates of an optimizer step.
        pool: Candidates that compete with each other.
        cost: Cost of training on a token, in forward passes.
        scoring: Cost of scoring the candidates, in forward passes of all of them.
        on_average: Whether steps have other numbers of candidates, and that is their mean.
    """
    each = "on average, an optimizer step" if on_average else "each optimizer step"
    if not pruners.prune:
        return [f"Pruning: none; {each} trains on all of its {candidates} candidates."]
    if pruners.own_budget is not None:
        return [
            f"Pruning: {method_name(args.sample_pruner)} x {method_name(args.token_pruner)}; "
            f"{each} has {candidates} candidates and trains on {pruners.own_budget}, whatever "
            "sample_ratio is."
        ]
    shares = pruners.budget(args)
    n_kept, n_kept_at_first = keep_count(pool, shares[1]), keep_count(pool, shares[0])
    n_trained = f"{n_kept * (candidates // pool)}"
    ratio, nominal = sum(shares) / 2, f"{args.sample_ratio:.1%}"
    if shares[0] != shares[1]:
        nominal = f"{shares[0]:.1%} falling to {shares[1]:.1%}"
        n_trained = f"{n_kept_at_first * (candidates // pool)} at first and {n_trained} in the end"
    trains = f"{candidates} candidates and trains on {n_trained}"
    if args.prune_unit == "turn":
        trains = f"{candidates} conversations and trains on a share of their turns"
    line = (
        f"Pruning: {method_name(args.sample_pruner)} x {method_name(args.token_pruner)} at "
        f"{nominal} x {args.token_ratio:.1%}; {each} has {trains}."
    )
    if not pruners.score:
        scoring = 0.0
    elif SCORES not in pruners.sample.needs:  # only kept samples are scored, for the token pruner
        scoring = FORWARD_COST * ratio
    bound = speed_up_bound(ratio, cost, scoring)
    if args.prune_unit == "turn":
        return [line, _NO_BOUND]
    one_pass = args.one_pass and pruners.score
    lines = [
        line,
        "Speed-up over training on all candidates: at most 1.00x, since one_pass runs all of them "
        "forward and backward; it prunes for quality, at the cost of a full run."
        if one_pass
        else f"Speed-up over training on all candidates: at most {bound:.2f}x, counted in passes "
        f"over samples of equal length (training on a token: {cost:.2f} forward passes; scoring: "
        f"{scoring:.2f}{_second_pass(pruners.sample.needs) if scoring else ''}).",
    ]
    if one_pass and args.score_dtype != "same":
        lines.append(
            "Warning: score_dtype has no effect with one_pass, whose scores come from the training "
            "forward."
        )
    if one_pass and ratio < break_even(cost):
        lines.append(
            f"Warning: below a sample ratio of {break_even(cost):.2f} two passes cost less, here "
            f"up to {bound:.2f}x; turn one_pass off to have that."
        )
    elif pruners.score and not one_pass and ratio > break_even(cost, scoring):
        lines.append(
            f"Warning: above a sample ratio of {break_even(cost, scoring):.2f} scoring costs more "
            "than pruning saves; this run will be slower than full training."
        )
    if pool < 4 and ratio < 1.0:
        lines.append(
            f"Warning: pools of fewer than 4 are too small to tell samples apart; here {n_kept} of "
            f"{pool} is kept. Raise gradient_accumulation_steps, per_device_train_batch_size or "
            "pool_factor."
        )
    if args.pool_factor > 1 and (args.prune_start > 0.0 or args.prune_end < 1.0):
        lines.append(
            "Warning: outside prune_start to prune_end micro-batches hold "
            f"{args.pool_factor} times per_device_train_batch_size samples, with the memory of it."
        )
    return lines


def method_name(method: object) -> str:
    """The name of a method as it was given, or that of an own one's function or class."""
    if isinstance(method, str):
        return method
    own = method if isinstance(method, type | FunctionType) else type(method)
    return own.__name__


def step_metrics(result: StepResult) -> dict[str, float]:
    """The metrics of one step by name; undefined ones (NaN) are left out."""
    counts = result.counts
    metrics: dict[str, float] = {
        "kept_samples": counts.kept_samples,
        "kept_tokens": counts.kept_answer_tokens,
        "sample_share": share(counts.kept_samples, counts.samples),
        "token_share": share(counts.kept_answer_tokens, counts.answer_tokens),
        "scored_share": share(counts.scored_samples, counts.samples),
        "scoring_seconds": counts.scoring_seconds,
    }
    weights = [cost.token_weight for cost in result.work if cost.token_weight is not None]
    if weights:
        metrics[TOKEN_WEIGHT.removeprefix(_PREFIX)] = share(sum(weights), counts.kept_answer_tokens)
    if counts.bad_samples:
        metrics["bad_samples"] = counts.bad_samples
    if counts.emptied_samples:
        metrics["emptied_samples"] = counts.emptied_samples
    planes = [s for s in result.decisions.selections if s.thresholds is not None]
    if planes:
        decisions = result.decisions.decided
        n_kept = sum(d.kept for d in decisions)
        metrics["filled_share"] = share(sum(d.filled for d in decisions), n_kept)
        for quadrant, name in ((Q1, "q1"), (Q2, "q2"), (Q3, "q3"), (Q4, "q4"), (0, "band")):
            metrics[f"{name}_share"] = share(
                sum(d.quadrant == quadrant for d in decisions), len(decisions)
            )
        metrics |= _plane_metrics(planes)
    return {
        f"{_PREFIX}{name}": float(value) for name, value in metrics.items() if math.isfinite(value)
    }


def _plane_metrics(planes: Sequence[Selection]) -> dict[str, float]:
    """Mean thresholds and mean rank correlation of the pools of a step."""
    values = defaultdict(list)
    for plane in planes:
        if plane.thresholds is not None:
            for name, value in vars(plane.thresholds).items():
                values[name].append(value)
        if math.isfinite(plane.rank_correlation):
            values["rank_correlation"].append(plane.rank_correlation)
    return {name: sum(numbers) / len(numbers) for name, numbers in values.items()}


class MetricWindow:
    """Means of the step metrics since the last log."""

    def __init__(self) -> None:
        """An empty window."""
        self._values: dict[str, list[float]] = defaultdict(list)

    def add(self, metrics: dict[str, float]) -> None:
        """Add a step's metrics."""
        for name, value in metrics.items():
            self._values[name].append(value)

    def take(self) -> dict[str, float]:
        """Return the mean of each metric, and empty the window."""
        means = {name: sum(values) / len(values) for name, values in self._values.items()}
        self._values.clear()
        return means


def print_budget(counts: StepCounts, args: PruningArguments, *, plain: bool = False) -> None:
    """Print the honest budget as a table; ``plain`` prints a line for each row instead."""
    title = "Budget: what was asked for, what was done"
    sample_ratio = sum(Pruners.of(args).budget(args)) / 2
    rows = budget_table(counts, sample_ratio, args.token_ratio, args.prune_unit)
    if plain:
        print(title)
        for what, nominal, actual in rows:
            target = "" if nominal == "-" else f" (asked for: {nominal})"
            print(f"  {what}: {actual}{target}")
        return
    table = Table(title=title, title_justify="left")
    table.add_column("share of training on everything")
    table.add_column("nominal", justify="right")
    table.add_column("actual", justify="right")
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def is_quiet(args: TrainingArguments) -> bool:
    """Whether a run prints nothing but errors (``--log_level error``)."""
    return bool(args.get_process_log_level() >= logging.ERROR)


def tell(args: TrainingArguments, line: str) -> None:
    """Print a line, above the progress bar if there is one; a quiet run prints nothing."""
    if is_quiet(args):
        return
    if args.disable_tqdm:
        print(line)
    else:
        tqdm.write(line)


def _second_pass(needs: frozenset[str]) -> str:
    """What a sample pruner of these needs reads beside the scoring pass, in words."""
    if needs & OF_ALONE:
        return ", and a second pass over the answers without their prompts"
    return ", and a second pass over the text without its images" if needs & OF_IMAGES else ""
