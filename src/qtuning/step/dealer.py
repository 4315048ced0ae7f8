"""The kept examples of all ranks in micro-batches: who trains on what."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ..examples.bins import Bins
from ..examples.candidate import Candidate
from ..examples.example import Example, n_input_of
from ..examples.labels import Labels
from ..io.weights import LOSS_WEIGHT
from ..ranks import Ranks
from .binning import deal_bins
from .dealing import deal, share_near, share_out


class Dealt(NamedTuple):
    """The micro-batches of a rank; the fields are those of ``two_pass.StepResult``."""

    micro_batches: list[list[Example]]
    skipped: int
    idle: int
    passes: int


@dataclass(frozen=True)
class Dealer:
    """Deals the kept examples of a step into micro-batches.

    Attributes:
        ranks: The other ranks.
        labels: Reads examples.
        micro_batch_size: Samples that a micro-batch may hold if they are as long as the longest.
        overhead: Fixed cost of a pass in tokens, see ``examples.pass_size.pass_overhead``.
        bins: The bins of a micro-batch, where samples are packed as they are loaded; else None.
    """

    ranks: Ranks
    labels: Labels
    micro_batch_size: int
    overhead: int
    bins: Bins | None = None

    def __call__(
        self,
        examples: Sequence[Example],
        homes: Sequence[tuple[int, int]],
        candidates: Sequence[Candidate],
        n: int,
        packed: int,
        is_weighted: bool,
    ) -> Dealt:
        """This rank's micro-batches, exactly ``n``.

        Ranks wait for each other, so the kept examples are shared out evenly before they are
        grouped. Empty micro-batches come first, since ranks exchange gradients in the last one.

        Args:
            examples: This rank's kept examples.
            homes: The micro-batch and the row in it that each of them comes from.
            candidates: This rank's candidates.
            n: Number of micro-batches.
            packed: Input tokens of the longest packed row of all ranks; 0 if none is packed.
            is_weighted: Whether the loss of the step is weighted.
        """
        here = self.ranks.rank
        spares = [self.labels.nothing_to_train_on(one) for one in examples[:1]]
        offers = self.ranks.gather_flat(
            [(here, home, n_input_of(one)) for home, one in zip(homes, examples, strict=True)]
        )
        lengths = [length for _, _, length in offers]
        if self.bins is None:
            size = self.micro_batch_size * max([packed, *lengths])
            dealt = [
                [
                    [share[i] for i in group]
                    for group in deal([lengths[i] for i in share], n, size, self.overhead)
                ]
                for share in self._shares(lengths, [rank for rank, _, _ in offers])
            ]
        else:
            all_homes = [(rank, home) for rank, home, _ in offers]
            dealt = deal_bins(lengths, all_homes, n, self.ranks.size, self.bins)
        at = self._sent(examples, [rank for rank, _, _ in offers], dealt)
        micro_batches = [[at[i] for i in group] for group in dealt[here]]
        # NaN activations would make NaN gradients even without a label.
        finite_examples = (
            c.example for c in candidates if c.nll is None or bool(c.nll.isfinite().all())
        )
        own_spare = self.labels.nothing_to_train_on((*finite_examples, candidates[0].example)[0])
        spare = (*self.ranks.gather_flat(spares), own_spare)[0]
        if is_weighted:
            # The trainer's own loss waits for the other ranks, so no micro-batch of any rank may
            # use it when another uses the weighted loss.
            spare[LOSS_WEIGHT] = [1.0] * n_input_of(spare)
        passes = list(map(len, dealt))
        idle = n - len(micro_batches)
        return Dealt(
            [[spare] for _ in range(idle)] + micro_batches, n - max(1, *passes), idle, sum(passes)
        )

    def _shares(self, lengths: Sequence[int], homes: Sequence[int]) -> list[list[int]]:
        """Which samples each rank gets; those that are dear to send stay where they can."""
        if self.labels.is_heavy:
            return share_near(lengths, homes, self.ranks.size)
        return share_out(lengths, self.ranks.size)

    def _sent(
        self,
        examples: Sequence[Example],
        homes: Sequence[int],
        dealt: Sequence[Sequence[Sequence[int]]],
    ) -> dict[int, Example]:
        """The examples that this rank has or gets, by number; only those that move are sent.

        Args:
            examples: This rank's kept examples.
            homes: The rank that each example of all ranks is on, rank after rank.
            dealt: The numbers of the examples in each micro-batch of each rank.
        """
        here = self.ranks.rank
        first = sum(home < here for home in homes)
        at = dict(enumerate(examples, first))
        new_home = {i: rank for rank, groups in enumerate(dealt) for group in groups for i in group}
        moved = [(i, one) for i, one in at.items() if new_home[i] != here]
        return at | dict(self.ranks.gather_flat(moved))
