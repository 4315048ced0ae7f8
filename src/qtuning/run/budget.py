"""The honest budget: the ratios a run was given, what it kept, and what that cost."""

from ..core.ratio import share
from ..step.work import StepCounts

FORWARD_COST = 1.0
"""One forward pass of a token, the unit of cost."""


def training_cost(trained_share: float, activation_checkpointing: bool) -> float:
    """Cost of training on a token, in forward passes of a token.

    The backward pass costs one forward pass for the activations and one for the weights, the
    latter in proportion to the share of weights that are trained (next to none with LoRA).
    Activation checkpointing adds one forward pass.

    Args:
        trained_share: Share of the weights that are trained.
        activation_checkpointing: Whether activations are recomputed.
    """
    backward = 1.0 + trained_share
    return FORWARD_COST + backward + (FORWARD_COST if activation_checkpointing else 0.0)


def scoring_cost(
    share_anew: float,
    epochs: float,
    known: bool,
    kept_share: float = 0.0,
    reference: float = 0.0,
) -> float:
    """Mean cost of scoring a step's candidates, in forward passes of all of them.

    Args:
        share_anew: Share of the samples with known scores that is scored again.
        epochs: Epochs of the run; in the first one no scores are known, unless ``known``.
        known: Whether scores are known from the start.
        kept_share: Share of the samples that is kept and scored for its tokens, where it is not
            scored for the decision; 0 if the token pruner reads no scores.
        reference: Cost of a forward pass of the reference model, which scores all candidates once;
            0 if the sample pruner reads nothing of it.
    """
    epochs = max(1.0, epochs)
    first = share_anew if known else 1.0
    scored = (first + (epochs - 1.0) * share_anew) / epochs
    return FORWARD_COST * (scored + (1.0 - scored) * kept_share + reference / epochs)


def speed_up_bound(sample_ratio: float, cost: float, scoring: float) -> float:
    """Highest speed-up over a full run, ``cost / (scoring + cost r)``: ``1 / r`` without scoring.

    Args:
        sample_ratio: Share r of the samples trained on.
        cost: Cost of training on a token, in forward passes.
        scoring: Cost of scoring, in forward passes of all candidates.
    """
    return cost / (scoring + cost * sample_ratio)


def break_even(cost: float, scoring: float = FORWARD_COST) -> float:
    """The sample ratio above which scoring costs more than pruning saves: 2/3 at cost 3.

    Args:
        cost: Cost of training on a token, in forward passes.
        scoring: Cost of scoring, in forward passes of all candidates.
    """
    return 1.0 - scoring / cost


def full_run_seconds(counts: StepCounts) -> float:
    """Estimate the time of the same steps without pruning, in seconds.

    Forward and backward of all input tokens at this run's own speed, plus this run's time in the
    optimizer and in whatever else does not grow with the tokens.
    """
    tokens = share(counts.input_tokens, counts.trained_tokens)
    return counts.training_seconds * tokens + _rest_seconds(counts)


def _rest_seconds(counts: StepCounts) -> float:
    """Time in neither pruning nor forward and backward passes, in seconds."""
    pruning = counts.scoring_seconds + counts.selection_seconds + counts.collation_seconds
    return max(0.0, counts.total_seconds - pruning - counts.training_seconds)


def budget_table(
    counts: StepCounts, sample_ratio: float, token_ratio: float, unit: str = "sample"
) -> list[tuple[str, str, str]]:
    """Rows (what, nominal, actual) of the table at the end of a run.

    Shares are relative to a full run, which is the same number of steps without pruning. The time
    of the full run is an estimate: forward and backward of all input tokens at this run's speed,
    plus this run's time in the optimizer and in whatever else does not grow with the tokens.
    ``unit`` is the ``prune_unit`` of the run.
    """
    nothing = "-"
    rows = [
        (f"{unit}s trained on", f"{sample_ratio:.1%}", _of(counts.kept_samples, counts.samples)),
        (
            "answer tokens trained on",
            f"{sample_ratio * token_ratio:.1%}",
            _of(counts.kept_answer_tokens, counts.answer_tokens),
        ),
        (
            "forward tokens, scoring and training",
            nothing,
            _of(counts.scored_tokens + counts.trained_tokens, counts.input_tokens),
        ),
        ("backward tokens", nothing, _of(counts.trained_tokens, counts.input_tokens)),
    ]
    total = counts.total_seconds
    rest = _rest_seconds(counts)
    for name, seconds in (
        ("time: scoring", counts.scoring_seconds),
        ("time: selection", counts.selection_seconds),
        ("time: collation", counts.collation_seconds),
        ("time: training, forward and backward", counts.training_seconds),
        ("time: optimizer and the rest", rest),
    ):
        rows.append((name, nothing, f"{share(seconds, total):.1%} ({seconds:.1f} s)"))
    full = full_run_seconds(counts)
    rows.append(
        (
            "time: all, of a full run (estimated)",
            nothing,
            f"{share(total, full):.1%} ({total:.1f} s)",
        )
    )
    for name, n in (
        ("left out: NaN or infinite loss", counts.bad_samples),
        ("left out: no answer tokens", counts.empty_samples),
        ("kept, and all answer tokens pruned", counts.emptied_samples),
    ):
        if n:
            rows.append((name, nothing, f"{n:,} {unit}s"))
    return rows


def _of(part: int, total: int) -> str:
    return f"{share(part, total):.1%} ({part:,} of {total:,})"
