"""What token pruners read of kept samples beside a forward of the model being trained."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from ..examples.candidate import Candidate
from ..pruners.protocols import BASE, REFERENCE, STEPS
from ..ranks import Ranks
from .answer_steps import StepReader
from .reference_store import ReferenceStore
from .scorer import Scorer


@dataclass(frozen=True)
class KeptSignals:
    """Adds to the extras of kept candidates; every rank must call it.

    Attributes:
        ranks: The other ranks.
        reference: Scores with the reference model; None if no pruner reads that.
        store: What it has scored so far.
        read_steps: Reads reasoning steps; None if no pruner reads those.
    """

    ranks: Ranks
    reference: Scorer | None
    store: ReferenceStore
    read_steps: StepReader | None

    def __call__(
        self, model: PreTrainedModel, kept: Sequence[Candidate], needs: frozenset[str]
    ) -> None:
        """Add what the token pruner needs.

        Args:
            model: The bare model.
            kept: This rank's kept candidates.
            needs: What the token pruner of this step reads.
        """
        if self.reference is not None and needs & {REFERENCE, BASE}:
            self._add_reference(self.reference, model, kept)
        if self.read_steps is not None and STEPS in needs:
            for candidate in kept:
                labels = torch.tensor(candidate.example["labels"])[candidate.answers]
                candidate.extras[STEPS] = self.read_steps(labels.tolist())

    def _add_reference(
        self, scorer: Scorer, model: PreTrainedModel, kept: Sequence[Candidate]
    ) -> None:
        unknown = [c for c in kept if self.store.of(c.sample_id, len(c.answers)) is None]
        scores = scorer(model, model, [(c.example, len(c.answers)) for c in unknown])
        for candidate, one in zip(unknown, scores, strict=True):
            candidate.extras[REFERENCE] = one.nll
            candidate.scored_tokens += len(candidate.example["input_ids"])
        scored = [(c.sample_id, c.extras[REFERENCE]) for c in unknown]
        for candidate in kept:
            known = self.store.of(candidate.sample_id, len(candidate.answers))
            if known is not None:
                candidate.extras[REFERENCE] = known
        self.store.learn(self.ranks.gather_flat(scored))
