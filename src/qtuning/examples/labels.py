"""Labels of examples, kept intact through any data collator."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..io.token_ids import outside_vocabulary
from .example import (
    PER_LABEL,
    SAMPLE_ID,
    SAMPLES,
    TURN,
    BatchSamples,
    Example,
    answer_positions,
    nothing_to_train_on,
    per_token,
)

Collator = Callable[[list[Example]], dict[str, Any]]


class Labels:
    """Keeps the labels of pruned examples intact through any collator.

    TRL's collator pads the labels that an example brings. Others, such as transformers'
    ``DataCollatorForLanguageModeling``, make labels from the input ids. Then the labels of an
    example are read from a batch of this example alone, and replace the collator's after pruning.

    This is the adapter of text. ``images.ImageLabels`` is that of text with images; a step reads
    and collates examples through either.

    Attributes:
        leaves_out: Whether samples without answer tokens must be taken out even where nothing is
            pruned, since the trainer's own batches cannot have them.
        is_heavy: Whether examples are dear to send, so that they stay on their rank if they can.
    """

    leaves_out = False
    is_heavy = False

    def __init__(self, collator: Collator, vocabulary: int | None = None) -> None:
        """Wrap the trainer's own collator.

        Args:
            collator: The collator.
            vocabulary: Number of token ids of the model; None leaves ids unchecked.
        """
        self._collator = collator
        self._vocabulary = vocabulary

    def of(self, example: Example) -> Example:
        """The example without padding, with plain lists and a ``labels`` column.

        Raises:
            UsageError: The example has no input ids, has ids outside the vocabulary, or has no
                labels and the collator makes none.
        """
        example = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in example.items()}
        if "input_ids" not in example:
            raise UsageError(
                f"only tokenised text can be pruned, and the data have no input_ids but "
                f"{', '.join(example)}"
            )
        example = _without_padding(example)
        if self._vocabulary is not None:
            _check_ids(example, self._vocabulary)
        if "labels" in example:
            return example
        batch = self.collate_as_is([example])
        if batch.get("labels") is None:
            raise UsageError(
                "the data have no labels and the data collator makes none: add a labels column, "
                "or use a collator that makes them, e.g. DataCollatorForLanguageModeling(mlm=False)"
            )
        labels = batch["labels"][0][_token_positions(batch, 0, len(example["input_ids"]))]
        return {**example, "labels": labels.tolist(), _MADE_LABELS: True}

    def nothing_to_train_on(self, example: Example) -> Example:
        """What is passed forward in the place of examples, see ``example.nothing_to_train_on``."""
        return nothing_to_train_on(example)

    def without_images(self, example: Example) -> Example | None:
        """The example without its images; None if it has none."""
        return None

    def collate_as_is(self, examples: Sequence[Example]) -> dict[str, Any]:
        """The batch that the stock trainer would make of the examples."""
        return self._collator([_without(e, SAMPLE_ID, TURN, *PER_LABEL) for e in examples])

    def collate_to_train(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Collate examples as ``collate`` does, with what the loss reads of each label.

        If an example has a column of ``PER_LABEL``, the batch has it, ``(B, L)`` float32: the
        example's values at its answer tokens, elsewhere 1. The batch then also has ``SAMPLES``, the
        samples in it.

        Raises:
            UsageError: The collator changes the labels and gives no attention mask to align them,
                or its padding predicts first tokens whose labels count.
        """
        batch = self.collate(examples)
        keys = [key for key in PER_LABEL if any(key in example for example in examples)]
        if not keys:
            return batch
        places = [answer_positions(example["labels"]) for example in examples]
        answers = batch["labels"][:, 1:] != IGNORE_INDEX
        if int(answers.sum()) != sum(map(len, places)):
            raise UsageError(
                f"{int(answers.sum())} labels of a batch are predicted, and its samples have "
                f"{sum(map(len, places))} answer tokens, which are weighted: on the left, padding "
                "would predict first tokens, so pad on the right"
            )
        for key in keys:
            values = [
                torch.tensor(example[key], dtype=torch.float32)[at]
                if key in example
                else torch.ones(len(at))
                for example, at in zip(examples, places, strict=True)
            ]
            # Padded or padding-free, answer tokens stand sample after sample, in order.
            columns = torch.ones(batch["labels"].shape)
            columns[:, 1:][answers] = torch.cat(values)
            batch[key] = columns
        names = [str(example.get(SAMPLE_ID, "")) for example in examples]
        batch[SAMPLES] = BatchSamples(names, list(map(len, places)))
        return batch

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Collate examples that came from ``of``, so that the batch has exactly their labels.

        Raises:
            UsageError: The collator changes the labels and gives no attention mask to align them.
        """
        if _MADE_LABELS in examples[0]:
            batch = self._collator(
                [_without(e, SAMPLE_ID, TURN, _MADE_LABELS, "labels", *PER_LABEL) for e in examples]
            )
        else:
            batch = self.collate_as_is(examples)
            answers = sum(len(answer_positions(example["labels"])) for example in examples)
            if int((batch["labels"][:, 1:] != IGNORE_INDEX).sum()) == answers:
                return batch
        labels = torch.full_like(batch["labels"], IGNORE_INDEX)
        if labels.shape[0] == 1 and len(examples) > 1:  # padding-free: one after the other
            flat_labels = [y for e in examples for y in (IGNORE_INDEX, *e["labels"][1:])]
            labels[0, _token_positions(batch, 0, len(flat_labels))] = torch.tensor(flat_labels)
        else:
            for row, example in enumerate(examples):
                positions = _token_positions(batch, row, len(example["labels"]))
                labels[row, positions] = torch.tensor(example["labels"])
        batch["labels"] = labels
        return batch


_MADE_LABELS = "_labels_made_by_collator"


def _check_ids(example: Example, vocabulary: int) -> None:
    """Check that a sample's ids are in the vocabulary; on a GPU, others would end the process.

    Raises:
        UsageError: An id is outside the vocabulary.
    """
    for name in ("input_ids", "labels"):
        highest = max(example.get(name) or (), default=0)
        if highest >= vocabulary:
            where = f"sample {example[SAMPLE_ID]}" if SAMPLE_ID in example else "a sample"
            raise outside_vocabulary(where, name, highest, vocabulary)


def _without(example: Example, *keys: str) -> Example:
    return {key: value for key, value in example.items() if key not in keys}


def _without_padding(example: Example) -> Example:
    """The example without the padding that its data set may have: no prompt and no answer."""
    mask = example.get("attention_mask")
    if mask is None or all(mask):
        return example
    positions = [i for i, real in enumerate(mask) if real]
    columns = {key: [value[i] for i in positions] for key, value in per_token(example).items()}
    return {**example, **columns}


def _token_positions(batch: Mapping[str, Any], row: int, length: int) -> Tensor:
    """Positions of a row's tokens without padding, ``(length,)``, whichever side is padded.

    Raises:
        UsageError: The batch has no such row, or not as many tokens in it.
    """
    mask = batch.get("attention_mask")
    rows, width = batch["labels"].shape
    positions = (
        torch.arange(width) if mask is None or row >= rows else mask[row].nonzero().squeeze(1)
    )
    if row >= rows or positions.shape[0] != length:
        raise UsageError(
            "the data collator neither keeps the labels of the examples nor gives an attention "
            "mask: give the data a labels column and use a collator that pads it, e.g. "
            "DataCollatorForSeq2Seq"
        )
    return positions
