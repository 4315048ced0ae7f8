"""The scoring pass: NLL and entropy of every answer token of some examples."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from ..core.places import AnswerPlaces
from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..examples.example import Example, n_input_of
from ..examples.grouping import group_by_length
from .extras import Extras, ExtraStats
from .forward import check_head, projected
from .on_host import on_host
from .pass_limit import PassLimit
from .steady_attention import steady_attention

_PLACES = "qtuning_places"
"""Key of a batch on its way to the device: where its answer tokens are."""


class Scores(NamedTuple):
    """The scores of one sample, on the CPU.

    Attributes:
        nll: NLL of the answer tokens in nats, ``(T,)`` float32.
        entropy: Entropy of the answer tokens in nats, ``(T,)`` float32.
        extras: Further statistics, by the name in ``needs``.
    """

    nll: Tensor
    entropy: Tensor
    extras: Extras


@dataclass
class Scorer:
    """Scores examples, gradient-free and in eval mode.

    Attributes:
        collate: Examples to a batch of tensors, labels intact.
        to_device: Moves a batch to the model's device.
        autocast: The precision of the pass, as a context.
        batch_size: Size of a forward pass, in samples as long as the longest one; a pass may have
            more of shorter samples.
        overhead: Fixed cost of a forward pass in tokens, see ``pass_size.pass_overhead``.
        limit: The most tokens of a pass, lowered where one does not fit the memory; None lets the
            error go on, as it must where other ranks work on the same pass.
        device_type: Type of the device that the model is on.
        highest: Returns the highest value of all ranks: with sharded weights every rank must run
            the same number of forwards. None if forwards need no other rank.
        other_model: Scores in place of the model being trained; its weights are not sharded.
        needs: Names that pruners need, see ``pruners.protocols``; with ``ENTROPY_ALL`` among them
            the mean entropy over all positions is an extra as well.
    """

    collate: Callable[[Sequence[Example]], dict[str, Any]]
    to_device: Callable[[dict[str, Any]], dict[str, Any]]
    autocast: Callable[[], AbstractContextManager[Any]]
    batch_size: int
    overhead: int = 0
    limit: PassLimit | None = None
    device_type: str = "cpu"
    highest: Callable[[int], int] | None = None
    other_model: PreTrainedModel | None = None
    needs: frozenset[str] = frozenset()
    _checked: bool = False

    @torch.no_grad()
    def __call__(
        self,
        model: PreTrainedModel,
        wrapped: nn.Module,
        examples: Sequence[tuple[Example, int]],
        packed: int = 0,
        parts: Sequence[Sequence[int]] | None = None,
    ) -> list[Scores]:
        """Score examples.

        Args:
            model: The bare model.
            wrapped: The model as the trainer wrapped it.
            examples: Examples, each with its number of answer tokens, at least 1.
            packed: Input tokens of the longest packed row that an example comes from: a pass may
                be as large as ``batch_size`` such rows.
            parts: Answer tokens of each turn of each example, where extras for sample pruners are
                wanted of turns, ``(turns, d)``; None gives them of samples, ``(d,)``.

        Returns:
            The scores of each example, in the order given.

        Raises:
            UsageError: The collator changed the labels, or the model cannot be scored.
            torch.OutOfMemoryError: A pass does not fit the memory, and a smaller one neither, or
                the pass must not be repeated.
        """
        lengths = [n_input_of(example) for example, _ in examples]
        size = self.batch_size * max([packed, *lengths])
        waiting = self._group(range(len(examples)), lengths, size)
        sharded_model = wrapped if self.highest is not None else None
        if self.other_model is not None:
            model, sharded_model = self.other_model, None
        # This gather must come before the first forward. After the last one, a rank without further
        # forwards would wait in the gather while the others wait in a forward for its shards.
        missing = 0
        if self.highest is not None and self.other_model is None:
            missing = self.highest(len(waiting)) - len(waiting)
        # Everything stays on the device until the end: a copy waits for the work before it.
        batches: list[list[int]] = []
        batch_stats: list[Tensor] = []
        extras: list[Extras] = []
        extra_stats = ExtraStats(model, self.needs)
        steady = steady_attention(self.device_type)
        with evaluating(model), steady, self.autocast(), extra_stats.watching():
            while waiting:
                members = waiting[0]
                limit = self.limit if sharded_model is None and len(members) > 1 else None
                try:
                    stats, more = self._pass(
                        model,
                        sharded_model,
                        extra_stats,
                        [examples[i] for i in members],
                        None if parts is None else [parts[i] for i in members],
                    )
                except torch.OutOfMemoryError:
                    if limit is None:
                        raise
                else:
                    batch_stats.append(stats)
                    extras += more
                    batches.append(waiting.pop(0))
                    continue
                # Beyond the handler, whose error holds the tensors of the pass.
                torch.cuda.empty_cache()
                limit.halve(len(members) * max(lengths[i] for i in members))
                waiting = self._group([i for group in waiting for i in group], lengths, size)
            if missing:  # no further batch here, but other ranks need our shards
                placeholder = {"input_ids": [0, 0], "labels": [IGNORE_INDEX, IGNORE_INDEX]}
                spare = [examples[i][0] for i in batches[-1]] if batches else [placeholder]
                inputs = self.to_device(self.collate(spare))
            for _ in range(missing):
                with projected(model, inputs, wrapped=sharded_model):
                    pass
        if self.limit is not None:
            self.limit.tell()
        order = [i for members in batches for i in members]
        scores = _by_sample(batch_stats, extras, [examples[i][1] for i in order])
        by_place = dict(zip(order, scores, strict=True))
        return [by_place[place] for place in range(len(examples))]

    def _group(self, chosen: Sequence[int], lengths: Sequence[int], size: int) -> list[list[int]]:
        """Group samples into passes of at most ``size`` padded tokens, within the limit."""
        if self.limit is not None:
            size = self.limit.of(size)
        groups = group_by_length([lengths[i] for i in chosen], size, self.overhead)
        return [[chosen[place] for place in group] for group in groups]

    def _pass(
        self,
        model: PreTrainedModel,
        wrapped: nn.Module | None,
        extra_stats: ExtraStats,
        counted: Sequence[tuple[Example, int]],
        parts: Sequence[Sequence[int]] | None,
    ) -> tuple[Tensor, list[Extras]]:
        """Run one forward, which the host does not wait for.

        Args:
            model: The bare model that scores.
            wrapped: The model as the trainer wrapped it, if its weights are sharded.
            extra_stats: Computes what goes beyond hidden states.
            counted: Examples, each with its number of answer tokens.
            parts: As in ``__call__``.

        Returns:
            What ``ExtraStats.of_batch`` gives, on the device.
        """
        examples = [example for example, _ in counted]
        batch = self.collate(examples)
        places = AnswerPlaces.of(batch["labels"])
        check_labels(len(places.gold), sum(count for _, count in counted))
        inputs = self.to_device({**batch, _PLACES: places})
        places_there = inputs.pop(_PLACES)
        if wrapped is None:
            self.check(model, inputs["input_ids"][:1, :8])
        with projected(model, inputs, wrapped=wrapped) as projection:
            places.check(projection.weight.shape[0])
            places_there = places_there.on(projection.hidden.device)
            return extra_stats.of_batch(projection, places_there, batch, examples, parts)

    def check(self, model: PreTrainedModel, input_ids: Tensor) -> None:
        """Run ``check_head`` in eval mode, in the first call only."""
        if not self._checked:
            with evaluating(model), self.autocast():
                check_head(model, input_ids)
            self._checked = True


def _by_sample(
    batch_stats: Sequence[Tensor], extras: Sequence[Extras], counts: Sequence[int]
) -> list[Scores]:
    """The scores of each sample, in the order of ``counts``, by one copy to the host.

    Args:
        batch_stats: NLL and entropy of the answer tokens of each batch, ``(2, tokens)``.
        extras: The extras of each sample.
        counts: Number of answer tokens of each sample.
    """
    if not counts:
        return []
    stats, *values = on_host(
        [torch.cat(list(batch_stats), dim=1), *(v for one in extras for v in one.values())]
    )
    rest = iter(values)
    return [
        one._replace(extras={name: next(rest) for name in more})
        for one, more in zip(split_by_sample(stats, counts), extras, strict=True)
    ]


def split_by_sample(stats: Tensor, counts: Sequence[int]) -> list[Scores]:
    """Split NLL and entropy, ``(2, tokens)``, into samples of ``counts`` answer tokens.

    Padded or padding-free, the answer tokens of a batch stand sample after sample, in order. Each
    sample gets memory of its own: views would keep, and pickle would send, the scores of all.
    """
    parts = stats.cpu().split(list(counts), dim=1)
    return [Scores(nll.clone(), entropy.clone(), {}) for nll, entropy in parts]


def check_labels(n_labels: int, n_answers: int) -> None:
    """Check that a collated batch has the answer tokens of its samples.

    Args:
        n_labels: Number of answer tokens of the batch.
        n_answers: Number of answer tokens of its samples.

    Raises:
        UsageError: The batch has another number of answer tokens.
    """
    if n_labels != n_answers:
        raise UsageError(
            f"the data collator changed the labels: {n_answers} answer tokens went in, "
            f"{n_labels} came out; use a collator that pads the labels it is given"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Context of eval mode, without dropout and activation checkpointing; restores all modes."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
