"""What the two pruners ask of the other arguments."""

from ..arguments import PruningArguments
from ..errors import UsageError
from .pair import remembers_scores
from .protocols import QUADRANTS, REFERENCE, SCORES
from .registry import resolve_sample_pruner, resolve_token_pruner


def check_pruners(args: PruningArguments) -> None:
    """See that both pruners can be found, and have what they read.

    Raises:
        UsageError: One is unknown, or other arguments do not fit it.
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
    beyond = (sample.needs | token.needs) - {SCORES, QUADRANTS}
    if args.one_pass and beyond:
        raise UsageError(
            f"one_pass has perplexity and entropy alone, and {args.sample_pruner} x "
            f"{args.token_pruner} need more ({', '.join(sorted(beyond))}): turn it off"
        )
