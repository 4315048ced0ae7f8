"""What pruners ask for beyond NLL and entropy, computed in the same scoring pass."""

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
"""Of one sample, by the name in ``needs``: ``(d,)``, or ``(T,)`` for a token pruner."""


_OF_LOGITS = frozenset({EL2N, LOGITS, CONFIDENCE})


class ExtraStats:
    """Computes the extras of a scoring pass."""

    def __init__(self, model: PreTrainedModel, needs: frozenset[str]) -> None:
        """Prepare for a model.

        Args:
            model: The bare model that scores; may be a PEFT model.
            needs: What pruners ask for; names that are not computed here are passed over.

        Raises:
            UsageError: The model's attention is asked for and cannot be read.
        """
        self._needs = needs
        self._attention = LastAttention(causal_lm_of(model)) if needs & ATTENTION else None

    @property
    def any(self) -> bool:
        """Whether there is anything to compute."""
        return bool(self._needs & _OF_LOGITS) or self._attention is not None

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Every forward that ``of_batch`` looks at must be made within."""
        if self._attention is None:
            yield
            return
        with self._attention.watching():
            yield

    def of_batch(
        self, projection: Projection, batch: Mapping[str, Any], examples: Sequence[Example]
    ) -> list[Extras]:
        """The extras of each sample of the batch that went through the last forward.

        They stay on the device: a copy waits for the work before it.

        Args:
            projection: Last hidden states and head.
            batch: The collated batch, padded or padding-free, still on the CPU.
            examples: The examples in it, in order.
        """
        found: list[Extras] = [{} for _ in examples]
        places = [
            (row, own.to(projection.hidden.device), answer_positions(example["labels"]))
            for (row, own), example in zip(_places(batch, examples), examples, strict=True)
        ]
        if self._needs & _OF_LOGITS:
            for extras, (row, own, answers), example in zip(found, places, examples, strict=True):
                hidden = projection.hidden[row, own[answers.to(own.device) - 1]]
                gold = torch.tensor(example["labels"])[answers].to(hidden.device)
                extras.update(self._of_logits(projection, hidden, gold))
        if self._attention is not None:
            with self._attention.eager():
                for extras, (row, own, answers) in zip(found, places, strict=True):
                    extras.update(self._of_attention(self._attention, row, own, answers))
        return found

    def _of_logits(self, projection: Projection, hidden: Tensor, gold: Tensor) -> Extras:
        """Of the hidden states that predict a sample's answer, ``(T, D)``, and its tokens."""
        head, made = projection.head, Extras()
        if EL2N in self._needs:
            made[EL2N] = error_norm(hidden, projection.weight, gold, **head).mean()[None]
        if LOGITS in self._needs:
            stats = logit_stats(hidden, projection.weight, **head)
            made[LOGITS] = torch.cat([stats.nuclear_norm[None].float(), stats.sketch])
        if CONFIDENCE in self._needs:
            top = top_prediction(hidden, projection.weight, gold, **head)
            made[CONFIDENCE] = torch.stack([top.confidence, top.right.float()], dim=1)
        return made

    def _of_attention(self, layer: LastAttention, row: int, own: Tensor, answers: Tensor) -> Extras:
        attention, hidden = layer.view(row, own)
        answers = answers.to(attention.device)
        made: Extras = {}
        if PROMPT_ATTENTION in self._needs:
            made[PROMPT_ATTENTION] = prompt_attention(attention, answers)
        if RECEIVED_ATTENTION in self._needs:
            made[RECEIVED_ATTENTION] = received_attention(attention, answers)
        if RATER_ATTENTION in self._needs:
            chosen = raters(hidden, answers)
            made[RATER_ATTENTION] = received_attention(attention, answers, chosen)
        return made


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
