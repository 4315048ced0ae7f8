"""Statistics of samples that pruners read from other sources than the trained model."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel

from ..examples.candidate import Candidate
from ..pruners.protocols import BASE, BASE_MEAN, REFERENCE, STEPS
from ..ranks import Ranks
from .answer_steps import StepReader
from .reference_store import ReferenceStore
from .scorer import Scorer


@dataclass(frozen=True)
class KeptSignals:
    """Adds reference NLLs and reasoning steps to candidates; every rank must call it.

    Attributes:
        ranks: The ranks of the run.
        reference: Scores with the reference model; None if no pruner reads its NLL.
        store: NLLs that the reference model has given so far.
        read_steps: Reads reasoning steps; None if no pruner reads steps.
    """

    ranks: Ranks
    reference: Scorer | None
    store: ReferenceStore
    read_steps: StepReader | None

    def __call__(
        self, model: PreTrainedModel, kept: Sequence[Candidate], needs: frozenset[str]
    ) -> None:
        """Add the extras that the token pruner needs.

        Args:
            model: The bare model.
            kept: This rank's kept candidates.
            needs: Names that the token pruner of this step reads.
        """
        if needs & {REFERENCE, BASE}:
            self.add_reference(model, kept)
        if self.read_steps is not None and STEPS in needs:
            for candidate in kept:
                labels = torch.tensor(candidate.example["labels"])[candidate.answers]
                candidate.extras[STEPS] = self.read_steps(labels.tolist())

    def add_base_means(self, model: PreTrainedModel, candidates: Sequence[Candidate]) -> None:
        """Add the mean NLL under the reference model, which sample pruners read.

        Args:
            model: The bare model.
            candidates: Candidates of this rank with answer tokens, before the decision.
        """
        self.add_reference(model, candidates)
        for candidate in candidates:
            candidate.extras[BASE_MEAN] = candidate.extras[REFERENCE].double().mean()[None]

    def add_reference(self, model: PreTrainedModel, candidates: Sequence[Candidate]) -> None:
        """Add NLLs under the reference model, which scores only samples not in the store.

        Args:
            model: The bare model.
            candidates: Candidates of this rank with answer tokens.
        """
        scorer = self.reference
        if scorer is None:
            return
        new_candidates = [
            c for c in candidates if self.store.of(c.sample_id, len(c.answers)) is None
        ]
        examples = [(c.example, len(c.answers)) for c in new_candidates]
        packed = max((c.packed for c in new_candidates), default=0)
        scores = scorer(model, model, examples, packed)
        for candidate, one in zip(new_candidates, scores, strict=True):
            candidate.extras[REFERENCE] = one.nll
            candidate.scored_tokens += len(candidate.example["input_ids"])
        new_nlls = [(c.sample_id, c.extras[REFERENCE].numpy()) for c in new_candidates]
        for candidate in candidates:
            nll = self.store.of(candidate.sample_id, len(candidate.answers))
            if nll is not None:
                candidate.extras[REFERENCE] = nll
        self.store.learn(self.ranks.gather_flat(new_nlls))
