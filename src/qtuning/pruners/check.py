"""Checks that the other arguments fit the two pruners."""

from ..arguments import PruningArguments
from ..errors import UsageError
from .pair import remembers_scores
from .protocols import BASE_MEAN, OF_ALONE, QUADRANTS, REFERENCE, SAMPLE_EXTRAS, SCORES, OwnBudget
from .registry import SAMPLE_PRUNERS, TOKEN_PRUNERS, resolve_sample_pruner, resolve_token_pruner

_OF_TOKENS = {"token_budget": "sample", "token_rule": "score"}
"""Options that token pruner q-tuning alone reads, with their defaults."""


def check_pruners(args: PruningArguments) -> None:
    """Check that both pruners exist, and that the other arguments give what the pruners read.

    Raises:
        UsageError: A pruner is unknown, or other arguments do not fit a pruner.
    """
    sample = resolve_sample_pruner(args.sample_pruner)
    token = resolve_token_pruner(args.token_pruner)
    if REFERENCE in token.needs and args.reference_model_name_or_path is None:
        raise UsageError(
            f"token_pruner {args.token_pruner} compares with a reference model: set "
            "reference_model_name_or_path"
        )
    if args.initial_scores is not None and not remembers_scores(args, sample.needs):
        raise UsageError(
            "initial_scores has no effect at score_refresh 1.0, where everything is scored "
            "anew: set score_refresh below 1"
        )
    _check_token_options(args)
    _check_turns(args)
    if args.token_budget == "pool" and args.token_ratio < 1.0:
        whatever = sample is SAMPLE_PRUNERS["full"] and args.sample_ratio < 1.0
        if whatever or isinstance(sample, OwnBudget):
            raise UsageError(
                f"token_budget pool counts with sample_ratio, and sample_pruner "
                f"{args.sample_pruner} keeps what it keeps whatever sample_ratio is: set "
                f"{'sample_ratio to 1.0' if whatever else 'token_budget to sample'}"
            )
    not_in_files = (sample.needs & SAMPLE_EXTRAS) - OF_ALONE
    if args.initial_scores is not None and not_in_files:
        raise UsageError(
            f"initial_scores has no effect with sample_pruner {args.sample_pruner}, which reads "
            f"what no file of scores has ({', '.join(sorted(not_in_files))}): leave it out"
        )
    is_static = args.scorer_model_name_or_path is not None or args.score_refresh == 0.0
    if is_static and BASE_MEAN in sample.needs:
        raise UsageError(
            f"sample_pruner {args.sample_pruner} follows how the model being trained changes: "
            "leave out scorer_model_name_or_path, and set score_refresh above 0"
        )
    other_needs = (sample.needs | token.needs) - {SCORES, QUADRANTS}
    if args.one_pass and other_needs:
        raise UsageError(
            f"one_pass has perplexity and entropy alone, and {args.sample_pruner} x "
            f"{args.token_pruner} need more ({', '.join(sorted(other_needs))}): turn it off"
        )


_NOT_OF_TURNS = (
    ("one_pass", False, "a conversation has one loss there"),
    ("token_mode", "mask", "later turns would lose what was said before"),
    ("entropy_over", "answer", "a turn has no input of its own"),
    ("s_ifd_noisy", False, "noisy copies are of whole samples"),
    ("initial_scores", None, "they are read by sample"),
)
"""Options that must have a value where turns are pruned, and why."""


def _check_turns(args: PruningArguments) -> None:
    """Refuse what cannot be done with turns as units.

    Raises:
        UsageError: Such an option is set.
    """
    if args.prune_unit == "sample":
        return
    for option, value, why in _NOT_OF_TURNS:
        if vars(args)[option] != value:
            instead = "leave it out" if value in (None, False) else f"set it to {value}"
            raise UsageError(
                f"{option} {vars(args)[option]} does not go with prune_unit turn, since {why}: "
                f"{instead}, or set prune_unit to sample"
            )


def _check_token_options(args: PruningArguments) -> None:
    """Refuse options of token pruner q-tuning with another registered one, which ignores them.

    Raises:
        UsageError: Such an option is set.
    """
    name = args.token_pruner
    if not isinstance(name, str) or name == "q-tuning" or name not in TOKEN_PRUNERS:
        return  # a user's own pruner is given the arguments, and may read them
    for option, default in _OF_TOKENS.items():
        value = vars(args)[option]
        if value != default:
            raise UsageError(
                f"{option} {value} is read by token_pruner q-tuning, not by {name}: set {option} "
                f"to {default}"
            )
