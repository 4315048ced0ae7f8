"""The scoring pass: NLL and entropy of every answer token of every candidate."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from .batching import Example
from .errors import UsageError
from .forward import check_head, model_token_stats
from .stats import IGNORE_INDEX, TokenStats

Scores = tuple[Tensor, Tensor]
"""NLL and entropy of one sample's answer tokens, each ``(T,)`` float32 on the CPU."""


@dataclass
class Scorer:
    """Scores examples with the current model, gradient-free and in eval mode.

    Attributes:
        collate: Examples to a batch of tensors, labels intact.
        to_device: Moves a batch to the model's device.
        autocast: The precision of training, as a context.
        batch_size: Samples a forward pass.
        highest: The highest of all ranks' values: with sharded weights every rank must run the
            same number of forwards. None if forwards need no other rank.
        fused: Use TRL's fused head.
    """

    collate: Callable[[Sequence[Example]], dict[str, Any]]
    to_device: Callable[[dict[str, Any]], dict[str, Any]]
    autocast: Callable[[], AbstractContextManager[None]]
    batch_size: int
    highest: Callable[[int], int] | None = None
    fused: bool = False
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
        longest_first = sorted(
            range(len(examples)), key=lambda i: -len(examples[i][0]["input_ids"])
        )
        batches = [
            longest_first[i : i + self.batch_size]
            for i in range(0, len(longest_first), self.batch_size)
        ]
        scores: list[Scores] = [(torch.empty(0), torch.empty(0))] * len(examples)
        sharded = wrapped if self.highest is not None else None
        with evaluating(model), self.autocast():
            for members in batches:
                inputs = self.to_device(self.collate([examples[i][0] for i in members]))
                if sharded is None:
                    self.check(model, inputs["input_ids"][:1, :8])
                stats = model_token_stats(model, inputs, wrapped=sharded, fused=self.fused)
                counts = [examples[i][1] for i in members]
                for i, one in zip(members, split_by_sample(stats, counts), strict=True):
                    scores[i] = one
            if self.highest is not None:
                more = self.highest(len(batches)) - len(batches)
                if more and not batches:  # nothing to score here, but the others need our shards
                    nothing = {"input_ids": [0, 0], "labels": [IGNORE_INDEX, IGNORE_INDEX]}
                    inputs = self.to_device(self.collate([nothing]))
                for _ in range(more):
                    model_token_stats(model, inputs, wrapped=sharded, fused=self.fused)
        return scores

    def check(self, model: PreTrainedModel, input_ids: Tensor) -> None:
        """``check_head`` in eval mode, the first time that it is asked for."""
        if not self._checked:
            with evaluating(model), self.autocast():
                check_head(model, input_ids)
            self._checked = True


def split_by_sample(stats: TokenStats, counts: Sequence[int]) -> list[Scores]:
    """Split the statistics of a batch into samples, padded or padding-free.

    In either layout the answer tokens stand sample after sample, in order.
    """
    nll, entropy = torch.stack([stats.nll, stats.entropy])[:, stats.mask].cpu()
    if nll.shape[0] != sum(counts):
        raise UsageError(
            f"the data collator changed the labels: {sum(counts)} answer tokens went in, "
            f"{nll.shape[0]} came out; use a collator that pads the labels it is given"
        )
    return list(zip(nll.split(list(counts)), entropy.split(list(counts)), strict=True))


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
