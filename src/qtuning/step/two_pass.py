"""One optimizer step: candidates in, kept examples in exactly n micro-batches out."""

import time
from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn
from transformers import PreTrainedModel

from ..arguments import PruningArguments
from ..examples.bins import Bins
from ..examples.candidate import Candidate, CandidateRow, row_of
from ..examples.end_of_turn import turn_ends
from ..examples.example import (
    Example,
    n_input_of,
    packed_length,
    prune_tokens,
)
from ..examples.labels import Labels
from ..pruners.pair import Pruners
from ..pruners.protocols import BASE_MEAN, OF_ALONE, OF_IMAGES, SCORES, TokenPruner
from ..ranks import Ranks
from ..signals.kept_signals import KeptSignals
from ..signals.scorer import Scorer
from ..signals.without_image import score_without_image
from ..signals.without_prompt import score_without_prompt
from ..weighters.protocols import TokenWeighter
from .candidates import candidates_of
from .dealer import Dealer, Dealt
from .decide import Decision, Decisions, decide
from .factors import Kept, factors_of, with_factors, with_tokens
from .moment import Moment
from .refresh import Refresh
from .token_stage import keep_masks, token_sample
from .units import give_back, put_together, trained_tokens, units_of, wholes_of
from .work import StepCounts, Work, count


class StepResult(NamedTuple):
    """The result of a step: micro-batches to train on, decisions and costs.

    Attributes:
        micro_batches: This rank's examples, exactly as many lists as came in.
        skipped: Number of micro-batches, from the first on, that are empty on all ranks.
        idle: Number of micro-batches, from the first on, that are empty on this rank.
        passes: Number of micro-batches of all ranks that are not empty.
        pruned: Whether the examples went through ``Labels.of``; else they are the rows as read.
        decisions: The decisions on all ranks' candidates.
        work: What each candidate cost, in the order of ``decisions``.
        counts: Counts over all ranks.
    """

    micro_batches: list[list[Example]]
    skipped: int
    idle: int
    passes: int
    pruned: bool
    decisions: Decisions
    work: list[Work]
    counts: StepCounts


@dataclass(frozen=True)
class StepPruner:
    """Prunes the candidates of optimizer steps in two passes: score and decide, then train.

    Attributes:
        args: The pruning arguments.
        seed: The run's seed.
        labels: Reads and keeps the labels of examples.
        scorer: Makes the scoring pass.
        ranks: The other ranks.
        protected_ids: Token ids that mark the end of a turn.
        micro_batch_size: Samples that a micro-batch may hold if they are as long as the longest.
        overhead: Fixed cost of a pass in tokens, see ``examples.pass_size.pass_overhead``.
        refresh: Chooses what is scored again; None scores every candidate in every step.
        more: Adds signals of the kept samples that no forward of the model being trained gives.
        weighter: The token weighter; None if there is none.
        memory: What the sample pruner remembers from step to step.
        bins: The bins of a micro-batch, where samples are packed as they are loaded; else None.
    """

    args: PruningArguments
    seed: int
    labels: Labels
    scorer: Scorer
    ranks: Ranks
    protected_ids: Tensor
    micro_batch_size: int
    overhead: int
    refresh: Refresh | None = None
    more: KeptSignals | None = None
    weighter: TokenWeighter | None = None
    memory: MutableMapping[str, Tensor] = field(default_factory=dict)
    bins: Bins | None = None

    def __call__(
        self,
        model: PreTrainedModel,
        wrapped: nn.Module,
        lists: Sequence[Sequence[Example]],
        pruners: Pruners,
        *,
        step: int,
        first_repeated: int,
        progress: float = 0.0,
    ) -> StepResult:
        """Prune the candidates of a step; every rank must call it.

        Args:
            model: The bare model.
            wrapped: The model as the trainer wrapped it.
            lists: This rank's rows, a list for each micro-batch.
            pruners: The sample pruner and the token pruner.
            step: The optimizer step about to be taken, counted from 1.
            first_repeated: Place in the last list from which on rows repeat earlier ones.
            progress: Share of the training steps done, in [0, 1).

        Raises:
            UsageError: A user's pruner or weighter returned what does not fit, or a weight of the
                loss is bad.
        """
        counts = StepCounts(steps=1)
        candidates = self.candidates(lists, first_repeated)
        started = time.perf_counter()

        def score(chosen: Sequence[Candidate], needs: frozenset[str]) -> None:
            scoring_from = time.perf_counter()
            self._score(model, wrapped, chosen, needs)
            counts.scoring_seconds += time.perf_counter() - scoring_from

        moment = Moment(step, self.seed, progress, self.memory)
        if SCORES in pruners.sample.needs:
            score(self._to_score(candidates, pruners, moment), pruners.needs)
        rows_of_ranks = self._gather(self._units(candidates), step)
        decisions = decide(rows_of_ranks, pruners.sample, self.args, moment)
        if pruners.score_kept:
            decisions = self._score_kept(candidates, decisions, score, pruners, step)
        units = self._units(candidates)
        decisions_here = decisions.of_rank(self.ranks.rank, len(units))
        places = [place for place, decision in enumerate(decisions_here) if decision.kept]
        if self.more is not None:
            scoring_from = time.perf_counter()
            needs = pruners.token.needs
            if self.weighter is not None:
                needs |= self.weighter.needs
            wholes = wholes_of(candidates, [units[place] for place in places])
            self.more.add_reference_for(model, wholes, needs)
            units = self._units(candidates)
            self.more.add_steps([units[place] for place in places], needs)
            counts.scoring_seconds += time.perf_counter() - scoring_from
        kept_candidates = [(units[place], decisions_here[place]) for place in places]
        keeps = self.token_keeps(kept_candidates, pruners.token, step, self.ranks.gather_flat)
        examples = [
            prune_tokens(candidate.example, candidate.answers, keep, self.args.token_mode)
            for (candidate, _), keep in zip(kept_candidates, keeps, strict=True)
        ]

        kept = [Kept(*pair, keep) for pair, keep in zip(kept_candidates, keeps, strict=True)]
        factors = factors_of(kept, self.weighter, self.args, moment)

        work_here = [Work(scored_tokens=unit.scored_tokens) for unit in units]
        trained = iter(trained_tokens(*with_tokens(kept, examples), cut=pruners.prune))
        for place, one, own in zip(places, kept, factors, strict=True):
            n_kept = int(one.keep.sum())
            cost = Work(n_kept, next(trained) if n_kept else 0, one.candidate.scored_tokens)
            work_here[place] = own.added_to(cost)
        work_of_ranks = self.ranks.gather(work_here)
        work = [work_of_ranks[rank][place] for rank, place in decisions.places]
        count(counts, decisions, work)
        examples, is_weighted = with_factors(
            examples, kept, factors, decisions, work, self.weighter, step
        )

        is_left_out = self.labels.leaves_out and any(row.n_tokens == 0 for row in decisions.rows)
        pruned = pruners.prune or is_weighted or is_left_out
        if pruned:
            units_left, examples = with_tokens(kept, examples)
            examples = put_together(units_left, examples, cut=pruners.prune)
            packed = max((row.packed for row in decisions.rows), default=0)
            homes = [(one.micro, one.row) for one in wholes_of(candidates, units_left)]
            dealer = Dealer(
                self.ranks, self.labels, self.micro_batch_size, self.overhead, self.bins
            )
            dealt = dealer(examples, homes, candidates, len(lists), packed, is_weighted)
        else:  # the stock trainer's micro-batches, with repeated rows
            dealt = Dealt([list(rows) for rows in lists], 0, 0, len(lists) * self.ranks.size)
        counts.selection_seconds = time.perf_counter() - started - counts.scoring_seconds
        return StepResult(*dealt, pruned, decisions, work, counts)

    def candidates(
        self, lists: Sequence[Sequence[Example]], first_repeated: int
    ) -> list[Candidate]:
        """The samples of this rank's rows, packed rows unpacked; arguments as in ``__call__``."""
        by_turn = self.args.prune_unit == "turn"
        return candidates_of(self.labels, lists, first_repeated, self._packed, by_turn)

    def _units(self, candidates: Sequence[Candidate]) -> Sequence[Candidate]:
        """What is kept or dropped: the candidates, or their turns as they have been scored."""
        return units_of(candidates) if self.args.prune_unit == "turn" else candidates

    def _packed(self, row: Example) -> int:
        """Input tokens of a packed row; with bins, a micro-batch's share of one of its samples."""
        if self.bins is None:
            return packed_length(row)
        return self.bins.length * self.bins.rows // self.micro_batch_size

    def _to_score(
        self, candidates: Sequence[Candidate], pruners: Pruners, moment: Moment
    ) -> Sequence[Candidate]:
        """This rank's candidates to score before the decision."""
        if self.refresh is None:
            return candidates
        units = self._units(candidates)
        rows_of_ranks = self.ranks.gather([row_of(unit) for unit in units])
        places_of_ranks = self.refresh.choose(rows_of_ranks, pruners.sample, self.args, moment)
        return wholes_of(
            candidates, [units[place] for place in sorted(places_of_ranks[self.ranks.rank])]
        )

    def _gather(self, units: Sequence[Candidate], step: int) -> list[list[CandidateRow]]:
        """The rows of all ranks; a row not scored in this step has its last known scores."""
        rows_of_ranks = self.ranks.gather([row_of(unit) for unit in units])
        if self.refresh is None:
            return rows_of_ranks
        self.refresh.store.learn((row for rows in rows_of_ranks for row in rows), step)
        return self.refresh.fill(rows_of_ranks)

    def _score_kept(
        self,
        candidates: Sequence[Candidate],
        decisions: Decisions,
        score: Callable[[Sequence[Candidate], frozenset[str]], None],
        pruners: Pruners,
        step: int,
    ) -> Decisions:
        """Score kept samples that this step has not scored, since the token pruner reads them.

        Where samples are never scored anew, their last known scores stay, or those that were kept
        before would be judged by later scores than the others.
        """
        unscored_places = [
            where
            for row, decision, where in zip(
                decisions.rows, decisions.decided, decisions.places, strict=True
            )
            if decision.kept and not row.scored
        ]
        if not unscored_places:  # the same on all ranks, so none waits for another
            return decisions
        here = [place for rank, place in unscored_places if rank == self.ranks.rank]
        units = self._units(candidates)
        stay = (
            self.refresh is not None
            and self.refresh.share == 0.0
            and SCORES in pruners.sample.needs
        )
        unscored = wholes_of(candidates, [units[place] for place in here])
        score(unscored, pruners.token.needs if stay else pruners.needs)
        units = self._units(candidates)
        new_rows = iter(self.ranks.gather_flat([row_of(units[place]) for place in here]))
        # The rows come rank by rank, those of a rank in the order of the data.
        row_at = {
            where: next(new_rows) for where in sorted(unscored_places, key=lambda where: where[0])
        }
        if self.refresh is not None:
            rows = row_at.values()
            self.refresh.store.learn([r for r in rows if r.is_bad or not stay], step)
        return decisions.with_scores(row_at)

    def _score(
        self,
        model: PreTrainedModel,
        wrapped: nn.Module,
        chosen: Sequence[Candidate],
        needs: frozenset[str],
    ) -> None:
        """Run the scoring pass over candidates with answer tokens, and set their scores.

        Args:
            model: The bare model.
            wrapped: The model as the trainer wrapped it.
            chosen: This rank's candidates to score.
            needs: What pruners will read of them; for some of it more passes are made.
        """
        candidates = [c for c in chosen if len(c.answers) and not c.repeated]
        by_turn = self.args.prune_unit == "turn"
        scores = self.scorer(
            model,
            wrapped,
            [(c.example, len(c.answers)) for c in candidates],
            max((c.packed for c in candidates), default=0),
            [[turn.n_tokens for turn in c.turns] for c in candidates] if by_turn else None,
        )
        for candidate, sample_scores in zip(candidates, scores, strict=True):
            candidate.nll, candidate.entropy = sample_scores.nll, sample_scores.entropy
            candidate.extras.update(sample_scores.extras)
            candidate.scored_tokens += n_input_of(candidate.example)
        if needs & OF_ALONE:
            units = self._units(candidates)
            score_without_prompt(self.scorer, model, wrapped, units)
            give_back(candidates, units)
        if needs & OF_IMAGES:
            score_without_image(self.scorer, self.labels, model, wrapped, candidates)
        if BASE_MEAN in needs and self.more is not None:
            self.more.add_reference(model, candidates)
            units = self._units(candidates)
            self.more.add_base_means(units)
            give_back(candidates, units)

    def token_keeps(
        self,
        kept: Sequence[tuple[Candidate, Decision]],
        pruner: TokenPruner,
        step: int,
        gather: Callable[[list[float]], list[float]],
    ) -> list[Tensor]:
        """Which answer tokens of each kept sample are kept, ``(T,)`` bool.

        Args:
            kept: The kept candidates of this rank that are one pool, and the decision on each.
            pruner: The token pruner.
            step: The optimizer step about to be taken, counted from 1.
            gather: Gathers values from all ranks, see ``TokenPool``.

        Raises:
            UsageError: A user's pruner did not return a bool mask for each sample.
        """
        samples = [
            token_sample(
                candidate.sample_id,
                decision,
                turn_ends(candidate.example, candidate.answers, self.protected_ids),
                self.args,
                nll=candidate.nll,
                entropy=candidate.entropy,
                extras=candidate.extras,
            )
            for candidate, decision in kept
        ]
        return keep_masks(samples, pruner, self.args, step=step, seed=self.seed, gather=gather)
