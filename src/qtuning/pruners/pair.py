"""The pair of sample pruner and token pruner that decides in a step."""

from dataclasses import dataclass

from ..arguments import PruningArguments
from .full import FullSamples, NoTokenPruning
from .protocols import (
    HISTORY,
    QUADRANTS,
    SCORES,
    ChangingBudget,
    OwnBudget,
    SamplePruner,
    TokenPruner,
)
from .registry import resolve_sample_pruner, resolve_token_pruner


@dataclass(frozen=True)
class Pruners:
    """The two pruners of a step.

    Attributes:
        sample: Decides on samples.
        token: Decides on the answer tokens of kept samples.
    """

    sample: SamplePruner
    token: TokenPruner

    @classmethod
    def of(cls, args: PruningArguments) -> "Pruners":
        """The pruners that the arguments name; a ratio of 1.0 turns its pruner off."""
        token = resolve_token_pruner(args.token_pruner)
        if args.token_ratio == 1.0:
            token = NoTokenPruning()
        sample = resolve_sample_pruner(args.sample_pruner)
        if args.sample_ratio == 1.0 and QUADRANTS not in token.needs:
            sample = FullSamples()
        return cls(sample, token)

    @property
    def needs(self) -> frozenset[str]:
        """Names of everything that either pruner reads."""
        return self.sample.needs | self.token.needs

    @property
    def score(self) -> bool:
        """Whether the pair needs a scoring pass, of all candidates or of what is kept."""
        return bool(self.needs & {SCORES, HISTORY})

    @property
    def score_kept(self) -> bool:
        """Whether every kept sample must have scores."""
        return SCORES in self.token.needs or HISTORY in self.sample.needs

    @property
    def keep_all_samples(self) -> bool:
        """Whether no sample can be pruned."""
        return isinstance(self.sample, FullSamples)

    @property
    def own_budget(self) -> str | None:
        """What the sample pruner keeps, in words, if it ignores the sample ratio; else None."""
        return self.sample.own_budget if isinstance(self.sample, OwnBudget) else None

    def budget(self, args: PruningArguments) -> tuple[float, float]:
        """Shares of the candidates kept at the beginning and at the end of a run."""
        if self.keep_all_samples:
            return 1.0, 1.0
        if isinstance(self.sample, ChangingBudget):
            return self.sample.budget(args)
        return args.sample_ratio, args.sample_ratio

    @property
    def before(self) -> "Pruners":
        """The pair for steps before pruning starts: all is kept, and what must be is remembered."""
        return _REMEMBERING if HISTORY in self.sample.needs else NO_PRUNING

    @property
    def prune(self) -> bool:
        """Whether the pair can prune anything."""
        return not (self.keep_all_samples and isinstance(self.token, NoTokenPruning))


class _Remembering(FullSamples):
    """Keeps every sample, and has its scores remembered."""

    needs = frozenset({HISTORY})


NO_PRUNING = Pruners(FullSamples(), NoTokenPruning())
_REMEMBERING = Pruners(_Remembering(), NoTokenPruning())


def remembers_scores(args: PruningArguments, sample_needs: frozenset[str]) -> bool:
    """Whether a run remembers the scores of samples from step to step.

    Args:
        args: The pruning arguments.
        sample_needs: What the sample pruner reads.
    """
    has_static_scorer = args.scorer_model_name_or_path is not None
    return args.score_refresh < 1.0 or has_static_scorer or HISTORY in sample_needs
