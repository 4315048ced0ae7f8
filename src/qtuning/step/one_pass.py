"""One-pass mode: the training forward itself is scored, and pruned tokens give no loss.

Two passes cost ``1 + 3r`` forward passes at sample ratio r, and one pass costs 3: above r = 2/3
one pass is faster, and below it prunes for quality alone. Each pool is one device's micro-batch,
since a pool over several micro-batches would hold the graphs of all of them.

How many tokens a step keeps is known only after its last forward, when most of its gradients are
computed already. So losses are divided by the number of answer tokens of all candidates, and the
gradients are rescaled before the loop clips them.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..core.answer_stats import answer_stats
from ..core.places import AnswerPlaces
from ..core.ratio import share
from ..core.stats import IGNORE_INDEX
from ..examples.candidate import ENTROPY_ALL, Candidate, row_of
from ..examples.example import BatchSamples, Example, n_input_of
from ..io.weights import LOSS_WEIGHT
from ..pruners.pair import Pruners
from ..signals.entropy_of_all import entropy_of_all
from ..signals.forward import Projection, model_projection
from ..signals.scorer import check_labels, split_by_sample
from .decide import Decisions, decide
from .factors import Factors, check_sums
from .moment import Moment
from .stopwatch import Stopwatch
from .two_pass import StepPruner, StepResult
from .weighted_loss import WeightedLoss
from .work import StepCounts, Work, count


class _MicroResult(NamedTuple):
    """A micro-batch after its forward, as ranks exchange it at the end of a step.

    Attributes:
        work: What each candidate cost, without repetitions.
        entropy: Summed entropy of the kept answer tokens, in nats.
    """

    work: list[Work]
    entropy: float


class OnePassStep:
    """One optimizer step; call ``loss`` once for each micro-batch, then ``finish``.

    Attributes:
        micro_batches: This rank's examples, exactly as many lists as came in, nothing pruned.
        counts: Counts of the step, complete after ``finish``.
        entropy: Mean entropy of the kept answer tokens in nats, over all ranks, after ``finish``.
    """

    def __init__(
        self,
        pruner: StepPruner,
        pruners: Pruners,
        lists: Sequence[Sequence[Example]],
        *,
        step: int,
        first_repeated: int,
        progress: float,
        autocast: Callable[[], AbstractContextManager[Any]],
        weighted_loss: WeightedLoss,
    ) -> None:
        """Begin a step.

        Args:
            pruner: The step pruner of the run.
            pruners: The sample pruner and the token pruner.
            lists: This rank's rows, a list for each micro-batch.
            step: The optimizer step about to be taken, counted from 1.
            first_repeated: Place in the last list from which on rows repeat earlier ones.
            progress: Share of the training steps done, in [0, 1).
            autocast: The precision of training, as a context.
            weighted_loss: The loss of the kept tokens, begun for this step.
        """
        self._pruner, self._pruners = pruner, pruners
        self._moment = Moment(step, pruner.seed, progress, pruner.memory)
        self._autocast, self._weighted_loss = autocast, weighted_loss
        self._earlier: dict[nn.Parameter, Tensor] = {}
        candidates = pruner.candidates(lists, first_repeated)
        self._candidates = [[c for c in candidates if c.micro == m] for m in range(len(lists))]
        self._spare = pruner.labels.nothing_to_train_on(candidates[0].example)
        self.micro_batches = [
            self._examples([c for c in members if _takes_part(c)]) for members in self._candidates
        ]
        self.counts = StepCounts(steps=1)
        self.entropy = 0.0
        self._decisions: list[Decisions] = []
        self._results: list[_MicroResult] = []
        self._losses: list[Tensor] = []
        self._n_items: Tensor | int = 1

    @property
    def done(self) -> bool:
        """Whether all micro-batches have had their forward."""
        return len(self._results) == len(self.micro_batches)

    def loss(
        self,
        model: PreTrainedModel,
        wrapped: nn.Module,
        inputs: Mapping[str, Any],
        n_items: Tensor | int,
    ) -> Tensor:
        """Run the forward of the next micro-batch, decide on it, and return its loss.

        Args:
            model: The bare model.
            wrapped: The model as the trainer wrapped it.
            inputs: The collated micro-batch on the model's device.
            n_items: Answer tokens of all candidates of the step on all ranks.

        Returns:
            Summed NLL of the kept answer tokens in nats, each times its weight, divided by
            ``n_items`` and multiplied by the number of ranks, since DDP averages gradients.
        """
        if not self._results:
            self._set_gradients_aside(model)
        members = self._candidates[len(self._results)]
        scorer = self._pruner.scorer
        scorer.check(model, inputs["input_ids"][:1, :8])
        forward = model_projection(model, wrapped, inputs)
        watch = Stopwatch(forward.hidden.device)  # the time of the forward is not that of scoring
        self._score(forward, inputs, [c for c in members if _takes_part(c)])
        watch.stop()
        scored_at = time.perf_counter()
        keeps = self._decide(members)
        self.counts.scoring_seconds += watch.seconds()
        self.counts.selection_seconds += time.perf_counter() - scored_at

        batch = [(c, keep) for c, keep in zip(members, keeps, strict=True) if _takes_part(c)]
        finite_batch = [(c, keep) for c, keep in batch if _is_finite(c)]
        second_forward = len(finite_batch) < len(batch)
        if second_forward and finite_batch:
            # NaN activations make NaN gradients of the weights even where the loss ignores them,
            # so the forward is repeated without the bad samples. The wrapper is left out, since
            # other ranks have no second forward.
            inputs = scorer.to_device(scorer.collate(self._examples([c for c, _ in finite_batch])))
            forward = model_projection(model, model, inputs)
        nll = self._nll(forward, inputs["labels"], finite_batch) if finite_batch else _zero(model)
        self._results.append(_result(members, keeps, second_forward))
        scale = self._pruner.ranks.size / n_items
        loss: Tensor = nll.to(inputs["input_ids"].device) * scale
        self._n_items = n_items
        self._losses.append(loss.detach())
        return loss

    def finish(self, model: nn.Module) -> tuple[StepResult, Tensor]:
        """Rescale the gradients after the step's last backward; every rank must call it.

        Args:
            model: The model that holds the gradients.

        Returns:
            The result of the step, and the loss to report for the last micro-batch, so that the
            reported losses of the step add up to the mean over its kept tokens.
        """
        results_of_ranks = self._pruner.ranks.gather(self._results)
        in_order = [part for parts in zip(*results_of_ranks, strict=True) for part in parts]
        decisions = Decisions.of_micro_batches(self._decisions)
        work = [cost for part in in_order for cost in part.work]
        count(self.counts, decisions, work)
        n_kept = self.counts.kept_answer_tokens
        self.entropy = share(sum(part.entropy for part in in_order), n_kept)

        weighted_tokens = sum(w.kept_tokens if w.weight is None else w.weight for w in work)
        check_sums(self._moment.step, n_kept, weighted_tokens, ())
        # All gradients are 0 if nothing was kept.
        factor = float(self._n_items) / (weighted_tokens or 1)
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad.mul_(factor)
        for parameter, earlier in self._earlier.items():
            parameter.grad = earlier if parameter.grad is None else parameter.grad.add_(earlier)
        losses = torch.stack(self._losses)
        last = losses.sum() * factor - losses[:-1].sum()
        n = len(self._losses)
        passes = n * self._pruner.ranks.size
        result = StepResult([], 0, 0, passes, self._pruners.prune, decisions, work, self.counts)
        return result, last

    def _set_gradients_aside(self, model: nn.Module) -> None:
        """Take away gradients from before the step, which ``finish`` must not rescale.

        Where the epoch of a stream ends within an accumulation, the loop leaves the gradients of
        its remainder to the next step.
        """
        for parameter in model.parameters():
            if parameter.grad is not None:
                self._earlier[parameter], parameter.grad = parameter.grad, None

    def _examples(self, candidates: Sequence[Candidate]) -> list[Example]:
        return [candidate.example for candidate in candidates] or [self._spare]

    def _score(
        self, forward: Projection, inputs: Mapping[str, Any], candidates: Sequence[Candidate]
    ) -> None:
        """Set NLL and entropy of candidates from the forward of their micro-batch."""
        counts = [len(candidate.answers) for candidate in candidates]
        places = AnswerPlaces.of(inputs["labels"].cpu())
        check_labels(len(places.gold), sum(counts))
        places.check(forward.weight.shape[0])
        places = places.on(forward.hidden.device)
        with torch.no_grad():
            hidden = forward.before(places)
        stats = answer_stats(hidden, forward.weight, places.gold, **forward.head)
        scores = split_by_sample(stats, counts)
        for candidate, sample_scores in zip(candidates, scores, strict=True):
            candidate.nll, candidate.entropy = sample_scores.nll, sample_scores.entropy
        if ENTROPY_ALL in self._pruner.scorer.needs:
            examples = [candidate.example for candidate in candidates]
            of_all = entropy_of_all(forward, places, stats[1], inputs, examples)
            for candidate, mean in zip(candidates, of_all, strict=True):
                candidate.extras[ENTROPY_ALL] = mean.cpu()

    def _nll(
        self, forward: Projection, labels: Tensor, batch: Sequence[tuple[Candidate, Tensor]]
    ) -> Tensor:
        """Summed NLL in nats of the kept answer tokens, each times its weight.

        Args:
            forward: The forward of the micro-batch.
            labels: ``(B, L)``.
            batch: The candidates in it, and which of their answer tokens are kept, ``(T,)`` bool.
        """
        labels = labels.to(forward.hidden.device)
        answers = labels[:, 1:] != IGNORE_INDEX
        keep, columns = answers.clone(), {}
        keep[answers] = torch.cat([kept for _, kept in batch]).to(keep.device)
        if any(candidate.loss_weight is not None for candidate, _ in batch):
            factors = torch.ones(answers.shape, device=answers.device)
            factors[answers] = torch.cat(
                [
                    torch.ones(len(kept)) if c.loss_weight is None else c.loss_weight.float()
                    for c, kept in batch
                ]
            ).to(answers.device)
            columns[LOSS_WEIGHT] = factors
        samples = BatchSamples(
            [candidate.sample_id for candidate, _ in batch], [int(kept.sum()) for _, kept in batch]
        )
        with self._autocast():
            return self._weighted_loss.of_forward(forward, labels, keep, columns, samples)

    def _decide(self, members: Sequence[Candidate]) -> list[Tensor]:
        """The answer tokens that each sample of a micro-batch keeps, ``(T,)`` bool.

        Every rank decides on the pools of all ranks, so that what a pruner remembers is the same on
        all of them.
        """
        ranks = self._pruner.ranks
        decisions = decide(
            ranks.gather([row_of(candidate) for candidate in members]),
            self._pruners.sample,
            self._pruner.args,
            self._moment,
            first_group=len(self._results) * ranks.size,
        )
        self._decisions.append(decisions)
        decisions_here = decisions.of_rank(ranks.rank, len(members))
        kept_candidates = [(c, d) for c, d in zip(members, decisions_here, strict=True) if d.kept]
        # The pool is this device's alone: tokens are not ranked across devices.
        keeps = iter(
            self._pruner.token_keeps(
                kept_candidates, self._pruners.token, self._moment.step, gather=list
            )
        )
        nothing = (torch.zeros(len(c.answers), dtype=torch.bool) for c in members)
        return [
            next(keeps) if decision.kept else none
            for decision, none in zip(decisions_here, nothing, strict=True)
        ]


def _takes_part(candidate: Candidate) -> bool:
    """Whether a candidate is in the training forward."""
    return len(candidate.answers) > 0 and not candidate.repeated


def _is_finite(candidate: Candidate) -> bool:
    return all(
        scores is not None and bool(scores.isfinite().all())
        for scores in (candidate.nll, candidate.entropy)
    )


def _zero(model: nn.Module) -> Tensor:
    """A zero loss without a forward; its gradient reaches all weights, which DDP waits for."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    nothing = [weight.flatten()[:0].sum().float().to(weights[0].device) for weight in weights]
    return torch.stack(nothing).sum()


def _result(
    members: Sequence[Candidate], keeps: Sequence[Tensor], second_forward: bool
) -> _MicroResult:
    work, entropy = [], 0.0
    for candidate, keep in zip(members, keeps, strict=True):
        if candidate.repeated:
            continue
        n_input = n_input_of(candidate.example)
        forward = n_input * (second_forward and _takes_part(candidate))
        cost = Work(int(keep.sum()), n_input * _is_finite(candidate), forward)
        user = None if candidate.loss_weight is None else candidate.loss_weight[keep]
        work.append(Factors(user).added_to(cost))
        if candidate.entropy is not None:
            entropy += float(candidate.entropy[keep].sum())
    return _MicroResult(work, entropy)
