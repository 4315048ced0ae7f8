"""The sample pruner and the token pruner that decide together."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .full import FullSamples, NoTokenPruning
from .infobatch import InfoBatch
from .protocols import HISTORY, QUADRANTS, SCORES, SamplePruner, TokenPruner
from .registry import resolve_sample_pruner, resolve_token_pruner

if TYPE_CHECKING:
    from ..arguments import PruningArguments


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
    def of(cls, args: "PruningArguments") -> "Pruners":
        """The pruners that the arguments name; a ratio of 1.0 means none on its axis."""
        token = resolve_token_pruner(args.token_pruner)
        if args.token_ratio == 1.0:
            token = NoTokenPruning()
        sample = resolve_sample_pruner(args.sample_pruner)
        if args.sample_ratio == 1.0 and QUADRANTS not in token.needs:
            sample = FullSamples()
        return cls(sample, token)

    @property
    def needs(self) -> frozenset[str]:
        """All that either of them reads."""
        return self.sample.needs | self.token.needs

    @property
    def score(self) -> bool:
        """Whether they need a scoring pass, of all candidates or of what is kept."""
        return bool(self.needs & {SCORES, HISTORY})

    @property
    def score_kept(self) -> bool:
        """Whether what is kept must have been scored."""
        return SCORES in self.token.needs or HISTORY in self.sample.needs

    @property
    def keep_all_samples(self) -> bool:
        """Whether no sample can be pruned."""
        return isinstance(self.sample, FullSamples)

    @property
    def ignores_ratio(self) -> bool:
        """Whether the sample pruner keeps a share of its own."""
        return isinstance(self.sample, InfoBatch)

    @property
    def prune(self) -> bool:
        """Whether they can prune anything."""
        return not (self.keep_all_samples and isinstance(self.token, NoTokenPruning))


NO_PRUNING = Pruners(FullSamples(), NoTokenPruning())
