"""Statistics of samples from a reference model, and reasoning steps.

Pruners and token weighters read them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor
from transformers import PreTrainedModel

from ..examples.candidate import Candidate
from ..examples.example import gold_of, n_input_of
from ..pruners.protocols import BASE_MEAN, REFERENCE, STEPS
from ..ranks import Ranks
from ..weighters.protocols import BASE_TAIL, FROM_REFERENCE
from .answer_steps import StepReader
from .reference_store import NLL, TAIL, ReferenceStore
from .scorer import Scorer


@dataclass(frozen=True)
class KeptSignals:
    """Adds statistics under the reference model and reasoning steps; every rank must call it.

    Attributes:
        ranks: The ranks of the run.
        reference: Scores with the reference model; None if nothing reads what it gives.
        store: What the reference model has given so far.
        read_steps: Reads reasoning steps; None if no pruner reads steps.
    """

    ranks: Ranks
    reference: Scorer | None
    store: ReferenceStore
    read_steps: StepReader | None

    def add_reference_for(
        self, model: PreTrainedModel, kept: Sequence[Candidate], needs: frozenset[str]
    ) -> None:
        """Add the extras from the reference model that token pruner and token weighter need.

        Args:
            model: The bare model.
            kept: This rank's kept candidates.
            needs: Names that they read.
        """
        if needs & FROM_REFERENCE:
            self.add_reference(model, kept)

    def add_steps(self, kept: Sequence[Candidate], needs: frozenset[str]) -> None:
        """Add the reasoning steps of kept candidates, or turns, where the token pruner reads them.

        Args:
            kept: This rank's kept candidates or turns.
            needs: Names that token pruner and token weighter read.
        """
        if self.read_steps is not None and STEPS in needs:
            for candidate in kept:
                labels = gold_of(candidate.example, candidate.answers)
                candidate.extras[STEPS] = self.read_steps(labels.tolist())

    def add_base_means(self, candidates: Sequence[Candidate]) -> None:
        """Add the mean NLL under the reference model, which sample pruners read.

        Args:
            candidates: Candidates of this rank, or their turns, after ``add_reference``.
        """
        for candidate in candidates:
            candidate.extras[BASE_MEAN] = candidate.extras[REFERENCE].double().mean()[None]

    def add_reference(self, model: PreTrainedModel, candidates: Sequence[Candidate]) -> None:
        """Add what the reference model gives, which scores only samples not in the store.

        Args:
            model: The bare model.
            candidates: Candidates of this rank with answer tokens.
        """
        scorer = self.reference
        if scorer is None:
            return
        wanted = {REFERENCE: NLL, **({BASE_TAIL: TAIL} if BASE_TAIL in scorer.needs else {})}

        def known(candidate: Candidate) -> dict[str, Tensor]:
            name, n = candidate.sample_id, len(candidate.answers)
            stored = {extra: self.store.of(name, n, what) for extra, what in wanted.items()}
            return {extra: values for extra, values in stored.items() if values is not None}

        new_candidates = [c for c in candidates if known(c).keys() < wanted.keys()]
        examples = [(c.example, len(c.answers)) for c in new_candidates]
        packed = max((c.packed for c in new_candidates), default=0)
        scores = scorer(model, model, examples, packed)
        for candidate, one in zip(new_candidates, scores, strict=True):
            candidate.extras |= {REFERENCE: one.nll, **one.extras}
            candidate.scored_tokens += n_input_of(candidate.example)
        new = {
            what: [(c.sample_id, c.extras[extra].numpy()) for c in new_candidates]
            for extra, what in wanted.items()
        }
        for candidate in candidates:
            candidate.extras |= known(candidate)
        for what, scored in new.items():
            self.store.learn(self.ranks.gather_flat(scored), what)
