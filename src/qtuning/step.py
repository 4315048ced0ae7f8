"""One optimizer step: candidates in, kept examples in exactly n micro-batches out."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .batching import (
    SAMPLE_ID,
    Example,
    Labels,
    answer_positions,
    deal,
    nothing_to_train_on,
    prune_tokens,
    unpack,
)
from .budget import StepCounts
from .config import PruningArguments
from .decide import Decision, Decisions, Row, decide
from .distributed import Ranks
from .errors import UsageError
from .ledger import LedgerRow
from .pruners.base import TokenPool, TokenPruner, TokenSample
from .pruners.pair import Pruners
from .records import count, ledger_rows
from .scoring import Scorer
from .stats import TokenStats, sample_stats


class StepResult(NamedTuple):
    """What became of the candidates of a step.

    Attributes:
        micro_batches: This rank's examples, exactly as many lists as came in.
        pruned: Whether they went through ``Labels.of``; else they are the rows as they came.
        decisions: The decisions on all ranks' candidates.
        ledger_rows: A row a candidate, all ranks'.
        counts: Counts over all ranks.
    """

    micro_batches: list[list[Example]]
    pruned: bool
    decisions: Decisions
    ledger_rows: list[LedgerRow]
    counts: StepCounts


@dataclass
class Candidate:
    """One sample of this rank.

    Attributes:
        example: The sample, from ``Labels.of``.
        sample_id: Its id.
        micro: Number of its micro-batch within the step.
        repeated: A repetition that the loader used to fill up an epoch's last batch.
        answers: Positions of its answer tokens, ``(T,)``.
        nll: Their NLL in nats, ``(T,)`` float32; None until it is scored.
        entropy: Their entropy in nats, likewise.
    """

    example: Example
    sample_id: str
    micro: int
    repeated: bool
    answers: Tensor
    nll: Tensor | None = None
    entropy: Tensor | None = None


@dataclass(frozen=True)
class StepPruner:
    """Prunes optimizer steps.

    Attributes:
        args: The pruning arguments.
        seed: The run's seed.
        labels: Reads and keeps the labels of examples.
        scorer: Makes the scoring pass.
        ranks: The other ranks.
        protected_ids: Token ids that mark the end of a turn.
    """

    args: PruningArguments
    seed: int
    labels: Labels
    scorer: Scorer
    ranks: Ranks
    protected_ids: Tensor

    def __call__(
        self,
        model: PreTrainedModel,
        wrapped: nn.Module,
        lists: Sequence[Sequence[Example]],
        pruners: Pruners,
        *,
        step: int,
        epoch: int,
        first_repeated: int,
    ) -> StepResult:
        """Prune the candidates of a step; every rank must call it.

        Args:
            model: The bare model.
            wrapped: The model as the trainer wrapped it.
            lists: This rank's rows, a list for each micro-batch.
            pruners: What decides.
            step: The optimizer step about to be taken, counted from 1.
            epoch: The epoch of the data, counted from 0.
            first_repeated: Place in the last list from which on rows repeat earlier ones.
        """
        counts = StepCounts(steps=1)
        candidates = self.candidates(lists, first_repeated, step)

        started = time.perf_counter()
        if pruners.score:
            self._score(model, wrapped, candidates)
        scored_at = time.perf_counter()
        counts.scoring_seconds = scored_at - started

        gathered = self.ranks.gather([row_of(candidate) for candidate in candidates])
        decisions = decide(
            gathered, pruners.sample, self.args, step=step, seed=self.seed, scored=pruners.score
        )
        own = decisions.of_rank(self.ranks.rank, len(candidates))
        kept = [(c, d) for c, d in zip(candidates, own, strict=True) if d.kept]
        keeps = self.token_keeps(kept, pruners.token, step, self.ranks.gather_flat)
        examples = [
            prune_tokens(candidate.example, candidate.answers, keep, self.args.token_mode)
            for (candidate, _), keep in zip(kept, keeps, strict=True)
        ]

        tokens_kept = [0] * len(candidates)
        trained_tokens = [0] * len(candidates)
        places = [place for place, decision in enumerate(own) if decision.kept]
        for place, keep, example in zip(places, keeps, examples, strict=True):
            tokens_kept[place] = int(keep.sum())
            trained_tokens[place] = len(example["input_ids"])
        trained = self.ranks.gather(list(zip(tokens_kept, trained_tokens, strict=True)))
        trained_in_order = [trained[rank][place] for rank, place in decisions.places]
        count(counts, decisions, trained_in_order, pruners.score)

        if pruners.prune:
            micro_batches = self._deal(examples, candidates, len(lists))
        else:  # as the stock trainer would, repetitions and all
            micro_batches = [list(rows) for rows in lists]
        counts.selection_seconds = time.perf_counter() - scored_at
        rows = ledger_rows(decisions, trained_in_order, pruners.score, step, epoch)
        return StepResult(micro_batches, pruners.prune, decisions, rows, counts)

    def candidates(
        self, lists: Sequence[Sequence[Example]], first_repeated: int, step: int
    ) -> list[Candidate]:
        """The samples of this rank's rows, packed ones too; arguments as in ``__call__``."""
        candidates: list[Candidate] = []
        for micro, rows in enumerate(lists):
            for place, row in enumerate(rows):
                repeated = micro == len(lists) - 1 and place >= first_repeated
                for sample in unpack(row):
                    example = self.labels.of(sample)
                    name = example.pop(SAMPLE_ID, None)
                    if name is None:  # a stream without ids: name it after its place
                        name = f"{step}.{self.ranks.rank}.{len(candidates)}"
                    answers = answer_positions(example["labels"])
                    candidates.append(Candidate(example, str(name), micro, repeated, answers))
        return candidates

    def _score(
        self, model: PreTrainedModel, wrapped: nn.Module, candidates: Sequence[Candidate]
    ) -> None:
        scored = [c for c in candidates if len(c.answers) and not c.repeated]
        scores = self.scorer(model, wrapped, [(c.example, len(c.answers)) for c in scored])
        for candidate, (nll, entropy) in zip(scored, scores, strict=True):
            candidate.nll, candidate.entropy = nll, entropy

    def token_keeps(
        self,
        kept: Sequence[tuple[Candidate, Decision]],
        pruner: TokenPruner,
        step: int,
        gather: Callable[[list[float]], list[float]],
    ) -> list[Tensor]:
        """Which answer tokens of each kept sample are kept, ``(T,)`` bool.

        Args:
            kept: The kept candidates of this rank that are one pool, and why.
            pruner: What decides.
            step: The optimizer step about to be taken, counted from 1.
            gather: See ``TokenPool``.

        Raises:
            UsageError: A user's pruner returned something else.
        """
        samples = [
            TokenSample(
                sample_id=candidate.sample_id,
                nll=candidate.nll,
                entropy=candidate.entropy,
                protected=self._protected(candidate),
                quadrant=decision.quadrant,
                filled=decision.filled,
                side=decision.side,
            )
            for candidate, decision in kept
        ]
        pool = TokenPool(samples, step=step, seed=self.seed, gather=gather)
        keeps = pruner(pool, self.args)
        shapes = [tuple(keep.shape) for keep in keeps]
        if shapes != [(sample.n_tokens,) for sample in samples]:
            raise UsageError(
                "the token pruner must return a bool tensor of shape (T,) for each sample of the "
                f"pool, got {shapes[:3]}..."
            )
        return keeps

    def _protected(self, candidate: Candidate) -> Tensor:
        labels = torch.tensor(candidate.example["labels"])[candidate.answers]
        if not self.args.protect_eos:
            return torch.zeros(labels.shape, dtype=torch.bool)
        return torch.isin(labels, self.protected_ids)

    def _deal(
        self, examples: Sequence[Example], candidates: Sequence[Candidate], n: int
    ) -> list[list[Example]]:
        groups = deal([len(example["input_ids"]) for example in examples], n)
        spare = nothing_to_train_on(candidates[0].example)
        return [[examples[i] for i in group] or [spare] for group in groups]


def row_of(candidate: Candidate) -> Row:
    """The candidate as other ranks are told of it."""
    ppl = entropy = float("nan")
    if candidate.nll is not None and candidate.entropy is not None:
        everywhere = torch.ones(1, len(candidate.nll), dtype=torch.bool)
        stats = sample_stats(TokenStats(candidate.nll[None], candidate.entropy[None], everywhere))
        ppl, entropy = float(stats.ppl), float(stats.entropy)
    return Row(
        micro=candidate.micro,
        sample_id=candidate.sample_id,
        ppl=ppl,
        entropy=entropy,
        n_tokens=len(candidate.answers),
        n_input=len(candidate.example["input_ids"]),
        repeated=candidate.repeated,
    )
