"""Statistics beyond NLL and entropy that pruners need, computed in the same scoring pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from ..core.answer_stats import answer_stats
from ..core.attention import prompt_attention, raters, received_attention
from ..core.calibration import top_prediction
from ..core.cuda_head import head_stats
from ..core.error_norm import error_norm
from ..core.logit_stats import logit_stats
from ..core.places import AnswerPlaces
from ..core.tail_mass import tail_mass
from ..examples.candidate import ENTROPY_ALL
from ..examples.example import Example, answers_of
from ..pruners.protocols import (
    ATTENTION,
    CONFIDENCE,
    EL2N,
    LOGITS,
    PROMPT_ATTENTION,
    RATER_ATTENTION,
    RECEIVED_ATTENTION,
)
from ..weighters.protocols import BASE_TAIL
from .entropy_of_all import entropy_of_all, rows_and_positions
from .forward import Projection, causal_lm_of
from .layer_attention import LastAttention

Extras = dict[str, Tensor]
"""Statistics of one sample, by the name in ``needs``: ``(d,)`` for a sample pruner, ``(T,)`` or
``(T, d)`` for a token pruner."""


_OF_PROBABILITIES = frozenset({EL2N, CONFIDENCE})


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

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Context of every forward whose extras ``of_batch`` computes."""
        if self._attention is None:
            yield
            return
        with self._attention.watching():
            yield

    def of_batch(
        self,
        projection: Projection,
        places: AnswerPlaces,
        batch: Mapping[str, Any],
        examples: Sequence[Example],
        parts: Sequence[Sequence[int]] | None = None,
    ) -> tuple[Tensor, list[Extras]]:
        """NLL, entropy and extras of the batch that went through the last forward.

        All of it stays on the device: a copy to the host would wait for all work before it.

        Args:
            projection: Last hidden states and head.
            places: The answer tokens, on the device of the hidden states.
            batch: The collated batch, padded or padding-free, on the CPU.
            examples: The examples of the batch, in order.
            parts: Answer tokens of each turn of each example, where extras for sample pruners are
                wanted of turns, ``(turns, d)``.

        Returns:
            NLL and entropy of the answer tokens in nats, ``(2, T)``, and the extras of each sample.
        """
        answers = [answers_of(example) for example in examples]
        counts = list(map(len, answers))
        hidden, weight, head = projection.before(places), projection.weight, projection.head
        if hidden.is_cuda:
            more = bool(self._needs & _OF_PROBABILITIES)
            stats = head_stats(hidden, weight, places.gold, more=more, **head)
            results = extras_of_head(stats, counts, self._needs, parts)
        else:
            stats = answer_stats(hidden, weight, places.gold, **head)
            results = self._of_probabilities(projection, places, counts, parts)
        if ENTROPY_ALL in self._needs:
            of_all = entropy_of_all(projection, places, stats[1], batch, examples)
            for extras, mean in zip(results, of_all, strict=True):
                extras[ENTROPY_ALL] = mean
        if LOGITS in self._needs:

            def logits_at(index: Tensor) -> Tensor:
                of_logits = logit_stats(projection.at(index), weight, **head)
                norm = of_logits.nuclear_norm[None].float()
                return torch.cat([norm, of_logits.sketch])

            turns = zip(results, places.at.split(counts), _turns(parts, counts), strict=True)
            for extras, index, lengths in turns:
                extras[LOGITS] = _of_turns(index, lengths, logits_at)
        if BASE_TAIL in self._needs:
            masses = tail_mass(hidden, weight, places.gold, **head).split(counts)
            for extras, mass in zip(results, masses, strict=True):
                extras[BASE_TAIL] = mass
        if self._attention is not None:
            spots = zip(results, rows_and_positions(batch, examples), answers, strict=True)
            with self._attention.eager():
                for extras, (row, positions), sample_answers in spots:
                    positions = positions.to(hidden.device, non_blocking=True)
                    extras |= self._of_attention(self._attention, row, positions, sample_answers)
        return stats[:2], results

    def _of_probabilities(
        self,
        projection: Projection,
        places: AnswerPlaces,
        counts: Sequence[int],
        parts: Sequence[Sequence[int]] | None,
    ) -> list[Extras]:
        """What ``extras_of_head`` gives, by a projection for each, in tiles that fit a cache."""
        results: list[Extras] = [{} for _ in counts]
        if not self._needs & _OF_PROBABILITIES:
            return results
        indices, golds = (values.split(list(counts)) for values in places)
        weight, head = projection.weight, projection.head
        samples = zip(results, indices, golds, _turns(parts, counts), strict=True)
        for extras, index, gold, lengths in samples:
            hidden = projection.at(index)
            if EL2N in self._needs:
                extras[EL2N] = _of_turns(error_norm(hidden, weight, gold, **head), lengths, _mean)
            if CONFIDENCE in self._needs:
                top = top_prediction(hidden, weight, gold, **head)
                extras[CONFIDENCE] = torch.stack([top.confidence, top.right.float()], dim=1)
        return results

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


def _turns(
    parts: Sequence[Sequence[int]] | None, counts: Sequence[int]
) -> Sequence[Sequence[int] | None]:
    """The answer tokens of each turn of each sample; None for a sample that is one."""
    return [None] * len(counts) if parts is None else parts


def _of_turns(
    values: Tensor, lengths: Sequence[int] | None, statistic: Callable[[Tensor], Tensor]
) -> Tensor:
    """A statistic ``(d,)`` of the answer tokens of a sample, or ``(turns, d)`` of its turns."""
    if lengths is None:
        return statistic(values)
    return torch.stack([statistic(part) for part in values.split(list(lengths))])


def _mean(values: Tensor) -> Tensor:
    return values.mean()[None]


def extras_of_head(
    stats: Tensor,
    counts: Sequence[int],
    needs: frozenset[str],
    parts: Sequence[Sequence[int]] | None = None,
) -> list[Extras]:
    """The extras of each sample that need no other pass over the vocabulary.

    Args:
        stats: What ``core.cuda_head.head_stats`` gives of the answer tokens, ``(5, T)``; of
            ``(2, T)`` there are no extras.
        counts: Number of answer tokens of each sample; together T.
        needs: Names that pruners need; others than ``EL2N`` and ``CONFIDENCE`` are ignored.
        parts: As in ``ExtraStats.of_batch``.
    """
    results: list[Extras] = [{} for _ in counts]
    if EL2N in needs:
        # The norm of the distribution minus the truth: sum_v p_v^2 - 2 p_y + 1.
        norms = (stats[2] - 2 * (-stats[0]).exp() + 1).clamp(min=0).sqrt()
        samples = zip(results, norms.split(list(counts)), _turns(parts, counts), strict=True)
        for extras, norm, lengths in samples:
            extras[EL2N] = _of_turns(norm, lengths, _mean)
    if CONFIDENCE in needs:
        for extras, pairs in zip(results, stats[3:].T.split(list(counts)), strict=True):
            extras[CONFIDENCE] = pairs
    return results
