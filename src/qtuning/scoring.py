"""The scoring pass: NLL and entropy of every answer token of every candidate asked for."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .batching import Example
from .dealing import group_by_length
from .errors import UsageError
from .forward import check_head, model_token_stats
from .stats import IGNORE_INDEX

Scores = tuple[Tensor, Tensor]
"""NLL and entropy of one sample's answer tokens, each ``(T,)`` float32 on the CPU."""


@dataclass
class Scorer:
    """Scores examples, gradient-free and in eval mode.

    Attributes:
        collate: Examples to a batch of tensors, labels intact.
        to_device: Moves a batch to the model's device.
        autocast: The precision of the pass, as a context.
        batch_size: Size of a forward pass, in samples as long as the longest one; of shorter ones
            more go together.
        overhead: Fixed cost of a forward pass in tokens, see ``dealing.pass_overhead``.
        highest: The highest of all ranks' values: with sharded weights every rank must run the
            same number of forwards. None if forwards need no other rank.
        fused: Use TRL's fused head.
        other_model: Scores in place of the model being trained; its weights are not sharded.
    """

    collate: Callable[[Sequence[Example]], dict[str, Any]]
    to_device: Callable[[dict[str, Any]], dict[str, Any]]
    autocast: Callable[[], AbstractContextManager[Any]]
    batch_size: int
    overhead: int = 0
    highest: Callable[[int], int] | None = None
    fused: bool = False
    other_model: PreTrainedModel | None = None
    _checked: bool = False

    @torch.no_grad()
    def __call__(
        self, model: PreTrainedModel, wrapped: nn.Module, examples: Sequence[tuple[Example, int]]
    ) -> list[Scores]:
        """Score the examples.

        Args:
            model: The bare model.
            wrapped: The model as the trainer wrapped it.
            examples: Each with its number of answer tokens, at least 1.

        Returns:
            The scores of each example, in the order given.

        Raises:
            UsageError: The collator changed the labels, or the model cannot be scored.
        """
        lengths = [len(example["input_ids"]) for example, _ in examples]
        size = self.batch_size * max(lengths, default=0)
        batches = group_by_length(lengths, size, self.overhead)
        sharded = wrapped if self.highest is not None else None
        if self.other_model is not None:
            model, sharded = self.other_model, None
        # Everything stays on the device until the end: a copy waits for the work before it.
        parts: list[Tensor] = []
        with evaluating(model), self.autocast():
            for members in batches:
                batch = self.collate([examples[i][0] for i in members])
                _check_labels(batch["labels"], sum(examples[i][1] for i in members))
                inputs = self.to_device(batch)
                if not self._checked and sharded is None:
                    check_head(model, inputs["input_ids"][:1, :8])
                    self._checked = True
                stats = model_token_stats(model, inputs, wrapped=sharded, fused=self.fused)
                parts.append(torch.stack([stats.nll, stats.entropy])[:, stats.mask])
            if self.highest is not None and self.other_model is None:
                more = self.highest(len(batches)) - len(batches)
                if more and not batches:  # nothing to score here, but the others need our shards
                    nothing = {"input_ids": [0, 0], "labels": [IGNORE_INDEX, IGNORE_INDEX]}
                    inputs = self.to_device(self.collate([nothing]))
                for _ in range(more):
                    model_token_stats(model, inputs, wrapped=sharded, fused=self.fused)
        return _by_sample(parts, batches, [count for _, count in examples])


def _by_sample(
    parts: Sequence[Tensor], batches: Sequence[Sequence[int]], counts: Sequence[int]
) -> list[Scores]:
    """Split the scores of all batches, each ``(2, tokens)``, into samples.

    Padded or padding-free, the answer tokens of a batch stand sample after sample, in order.
    """
    scores: list[Scores] = [(torch.empty(0), torch.empty(0))] * len(counts)
    if not batches:
        return scores
    order = [i for members in batches for i in members]
    nll, entropy = torch.cat(list(parts), dim=1).cpu()
    split = [counts[i] for i in order]
    for i, one, other in zip(order, nll.split(split), entropy.split(split), strict=True):
        scores[i] = one, other
    return scores


def _check_labels(labels: Tensor, n_answers: int) -> None:
    found = int((labels[:, 1:] != IGNORE_INDEX).sum())
    if found != n_answers:
        raise UsageError(
            f"the data collator changed the labels: {n_answers} answer tokens went in, "
            f"{found} came out; use a collator that pads the labels it is given"
        )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode, without dropout and activation checkpointing; every module is left as found."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
