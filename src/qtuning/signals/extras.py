"""Statistics beyond NLL and entropy that pruners need, computed in the same scoring pass."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..core.attention import prompt_attention, raters, received_attention
from ..core.calibration import top_prediction
from ..core.error_norm import error_norm
from ..core.logit_stats import logit_stats
from ..examples.example import Example, answer_positions
from ..pruners.protocols import (
    ATTENTION,
    CONFIDENCE,
    EL2N,
    LOGITS,
    PROMPT_ATTENTION,
    RATER_ATTENTION,
    RECEIVED_ATTENTION,
)
from .forward import Projection, causal_lm_of
from .layer_attention import LastAttention

Extras = dict[str, Tensor]
"""Statistics of one sample, by the name in ``needs``: ``(d,)`` for a sample pruner, ``(T,)`` or
``(T, d)`` for a token pruner."""


_OF_LOGITS = frozenset({EL2N, LOGITS, CONFIDENCE})


class ExtraStats:
    """Computes the extras of samples in a scoring pass."""

    def __init__(self, model: PreTrainedModel, needs: frozenset[str]) -> None:
        """Prepare for a model.

        Args:
            model: The bare model that scores; may be a PEFT model.
            needs: Names that the pruners need; names that are not computed here are ignored.

        Raises:
            UsageError: A pruner needs the model's attention, which cannot be read.
        """
        self._needs = needs
        self._attention = LastAttention(causal_lm_of(model)) if needs & ATTENTION else None

    @property
    def any(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self._needs & _OF_LOGITS) or self._attention is not None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context of every forward whose extras ``of_batch`` computes."""
        if self._attention is None:
            yield
            return
        with self._attention.watching():
            yield

    def of_batch(
        self, projection: Projection, batch: Mapping[str, Any], examples: Sequence[Example]
    ) -> list[Extras]:
        """The extras of each sample of the batch that went through the last forward.

        The extras stay on the device: a copy would wait for all work before it.

        Args:
            projection: Last hidden states and head.
            batch: The collated batch, padded or padding-free, on the CPU.
            examples: The examples of the batch, in order.
        """
        results: list[Extras] = [{} for _ in examples]
        places = [
            (row, positions.to(projection.hidden.device), answer_positions(example["labels"]))
            for (row, positions), example in zip(_places(batch, examples), examples, strict=True)
        ]
        if self._needs & _OF_LOGITS:
            for extras, (row, positions, answers), example in zip(
                results, places, examples, strict=True
            ):
                hidden = projection.hidden[row, positions[answers.to(positions.device) - 1]]
                gold = torch.tensor(example["labels"])[answers].to(hidden.device)
                extras.update(self._of_logits(projection, hidden, gold))
        if self._attention is not None:
            with self._attention.eager():
                for extras, (row, positions, answers) in zip(results, places, strict=True):
                    extras.update(self._of_attention(self._attention, row, positions, answers))
        return results

    def _of_logits(self, projection: Projection, hidden: Tensor, gold: Tensor) -> Extras:
        """Extras from answer tokens, ``(T,)``, and the hidden states before each, ``(T, D)``."""
        head, extras = projection.head, Extras()
        if EL2N in self._needs:
            extras[EL2N] = error_norm(hidden, projection.weight, gold, **head).mean()[None]
        if LOGITS in self._needs:
            stats = logit_stats(hidden, projection.weight, **head)
            extras[LOGITS] = torch.cat([stats.nuclear_norm[None].float(), stats.sketch])
        if CONFIDENCE in self._needs:
            top = top_prediction(hidden, projection.weight, gold, **head)
            extras[CONFIDENCE] = torch.stack([top.confidence, top.right.float()], dim=1)
        return extras

    def _of_attention(
        self, layer: LastAttention, row: int, positions: Tensor, answers: Tensor
    ) -> Extras:
        """Extras from the attention of one sample with answer tokens at ``answers``, ``(T,)``."""
        attention, hidden = layer.view(row, positions)
        answers = answers.to(attention.device)
        extras: Extras = {}
        if PROMPT_ATTENTION in self._needs:
            extras[PROMPT_ATTENTION] = prompt_attention(attention, answers)
        if RECEIVED_ATTENTION in self._needs:
            extras[RECEIVED_ATTENTION] = received_attention(attention, answers)
        if RATER_ATTENTION in self._needs:
            rater_positions = raters(hidden, answers)
            extras[RATER_ATTENTION] = received_attention(attention, answers, rater_positions)
        return extras


def _places(batch: Mapping[str, Any], examples: Sequence[Example]) -> Iterator[tuple[int, Tensor]]:
    """Row and positions of each example in a collated batch."""
    lengths = [len(example["input_ids"]) for example in examples]
    if batch["input_ids"].shape[0] == 1 and len(examples) > 1:  # padding-free
        start = 0
        for length in lengths:
            yield 0, torch.arange(start, start + length)
            start += length
        return
    mask = batch.get("attention_mask")
    for row, length in enumerate(lengths):
        if mask is None or mask.ndim != 2:
            yield row, torch.arange(length)
        else:
            yield row, mask[row].nonzero().squeeze(1)
