"""Checks that the other arguments fit the two pruners."""

from ..arguments import PruningArguments
from ..errors import UsageError
from .pair import remembers_scores
from .protocols import QUADRANTS, REFERENCE, SCORES
from .registry import resolve_sample_pruner, resolve_token_pruner


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
    other_needs = (sample.needs | token.needs) - {SCORES, QUADRANTS}
    if args.one_pass and other_needs:
        raise UsageError(
            f"one_pass has perplexity and entropy alone, and {args.sample_pruner} x "
            f"{args.token_pruner} need more ({', '.join(sorted(other_needs))}): turn it off"
        )
