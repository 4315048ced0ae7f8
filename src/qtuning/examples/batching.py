"""Examples: from what the loader yields to kept examples and collated batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError

Example = dict[str, Any]
Collator = Callable[[list[Example]], dict[str, Any]]

SAMPLE_ID = "sample_id"
LOSS_WEIGHT = "loss_weight"
"""Of an example: factor on its loss; in a batch: that of each label, ``(B, L)``."""


@dataclass(frozen=True)
class RawBatch:
    """What the loader yields: examples as they are. The class itself is the collate function.

    It is not a list, so that moving a batch to the device does not visit every token id.
    """

    examples: list[Example]


class NothingToTrain(dict[str, Any]):
    """A collated micro-batch without a label on any rank: no forward pass is made for it."""


def unpack(example: Mapping[str, Any]) -> list[Example]:
    """The samples of a row packed by TRL's ``bfd``; any other row is one sample.

    A packed sample is called ``<row>:<place in the row>``.
    """
    if "seq_lengths" not in example:
        return [dict(example)]
    samples, start = [], 0
    for place, length in enumerate(example["seq_lengths"]):
        sample: Example = {k: v[start : start + length] for k, v in _per_token(example).items()}
        if SAMPLE_ID in example:
            sample[SAMPLE_ID] = f"{example[SAMPLE_ID]}:{place}"
        samples.append(sample)
        start += length
    return samples


def answer_positions(labels: Sequence[int] | Tensor) -> Tensor:
    """Positions of the answer tokens in ``labels`` (L,); the first token is never predicted."""
    labels = torch.as_tensor(labels)
    return (labels[1:] != IGNORE_INDEX).nonzero().squeeze(1) + 1


def has_answers(rows: Any, completion_only: bool) -> bool:
    """Whether any row has something to train on; true where only the collator knows.

    Newer TRL leaves out rows that are all prompt, older TRL does not.

    Args:
        rows: A ``datasets.Dataset``.
        completion_only: Whether ``completion_mask`` counts.
    """
    for column, ignored in (("labels", IGNORE_INDEX), ("completion_mask", 0)):
        if column in rows.column_names and (completion_only or column == "labels"):
            values = rows.with_format(None)[column]
            return any(value != ignored for row in values for value in row[1:])
    return len(rows) > 0


def prune_tokens(example: Example, answers: Tensor, keep: Tensor, mode: str) -> Example:
    """The example with the answer tokens that ``keep`` (T,) denies masked or dropped.

    Args:
        example: Per-token lists (``input_ids``, ``labels``, ...) and whatever else it has.
        answers: Positions of its answer tokens, ``(T,)``.
        keep: ``(T,)`` bool.
        mode: ``"mask"``: the label becomes -100. ``"drop"``: the token goes from every per-token
            list; ``position_ids`` are made anew so that they stay consecutive.
    """
    if bool(keep.all()):
        return example
    pruned = set(answers[~keep].tolist())
    if mode == "mask":
        labels = [IGNORE_INDEX if i in pruned else y for i, y in enumerate(example["labels"])]
        return {**example, "labels": labels}
    left = [i for i in range(len(example["input_ids"])) if i not in pruned]
    shorter = {key: [value[i] for i in left] for key, value in _per_token(example).items()}
    if "position_ids" in shorter:
        shorter["position_ids"] = list(range(len(left)))
    return {**example, **shorter}


def without_prompt(example: Example, answers: Tensor) -> Example:
    """The answer tokens of an example alone; nothing predicts the first of them."""
    own = answers.tolist()
    shorter = {key: [value[i] for i in own] for key, value in _per_token(example).items()}
    if "position_ids" in shorter:
        shorter["position_ids"] = list(range(len(own)))
    return {**example, **shorter}


def nothing_to_train_on(example: Example) -> Example:
    """Two tokens of an example without a label: a rank's forward when it has nothing to train."""
    tokens = {key: (list(value) * 2)[:2] for key, value in _per_token(example).items()}
    if "position_ids" in tokens:
        tokens["position_ids"] = [0, 1]
    spare = {**example, **tokens, "labels": [IGNORE_INDEX, IGNORE_INDEX]}
    spare.pop(LOSS_WEIGHT, None)
    return spare


def _per_token(example: Mapping[str, Any]) -> dict[str, list[Any] | Tensor]:
    length = len(example["input_ids"])
    return {
        key: value
        for key, value in example.items()
        if isinstance(value, list | Tensor) and len(value) == length
    }


class Labels:
    """Keeps the labels of pruned examples intact through any collator.

    TRL's collator pads the labels that an example brings. Others, such as transformers'
    ``DataCollatorForLanguageModeling``, make labels anew from the input ids; there the labels are
    read off a single collated example, and written over the collator's after pruning.
    """

    def __init__(self, collator: Collator) -> None:
        """Wrap the trainer's own collator."""
        self._collator = collator

    def of(self, example: Example) -> Example:
        """The example without padding, with plain lists and a ``labels`` column.

        Raises:
            UsageError: It has no labels, and the collator makes none.
        """
        example = {k: v.tolist() if isinstance(v, Tensor) else v for k, v in example.items()}
        if "input_ids" not in example:
            raise UsageError(
                f"only tokenised text can be pruned, and the data have no input_ids but "
                f"{', '.join(example)}"
            )
        example = _without_padding(example)
        if "labels" in example:
            return example
        batch = self.collate_as_is([example])
        if batch.get("labels") is None:
            raise UsageError(
                "the data have no labels and the data collator makes none: add a labels column, "
                "or use a collator that makes them, e.g. DataCollatorForLanguageModeling(mlm=False)"
            )
        labels = batch["labels"][0][_own_positions(batch, 0, len(example["input_ids"]))]
        return {**example, "labels": labels.tolist(), _MADE_LABELS: True}

    def collate_as_is(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Collate as the stock trainer would."""
        return self._collator([_without(e, SAMPLE_ID) for e in examples])

    def collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        """Collate examples that came from ``of``, with their own labels whatever it takes.

        If any of them has a ``loss_weight``, the batch has one for each label.

        Raises:
            UsageError: The batch does not tell where its examples stand.
        """
        batch = self._collate([_without(example, LOSS_WEIGHT) for example in examples])
        if any(LOSS_WEIGHT in example for example in examples):
            weights = [
                torch.full((len(answer_positions(e["labels"])),), float(e.get(LOSS_WEIGHT, 1.0)))
                for e in examples
            ]
            # Padded or padding-free, answer tokens stand sample after sample, in order.
            spread = torch.ones(batch["labels"].shape)
            spread[:, 1:][batch["labels"][:, 1:] != IGNORE_INDEX] = torch.cat(weights)
            batch[LOSS_WEIGHT] = spread
        return batch

    def _collate(self, examples: Sequence[Example]) -> dict[str, Any]:
        if _MADE_LABELS in examples[0]:
            batch = self._collator(
                [_without(e, SAMPLE_ID, _MADE_LABELS, "labels") for e in examples]
            )
        else:
            batch = self.collate_as_is(examples)
            answers = sum(len(answer_positions(example["labels"])) for example in examples)
            if int((batch["labels"][:, 1:] != IGNORE_INDEX).sum()) == answers:
                return batch
        labels = torch.full_like(batch["labels"], IGNORE_INDEX)
        if labels.shape[0] == 1 and len(examples) > 1:  # padding-free: one after the other
            flat = [y for e in examples for y in (IGNORE_INDEX, *e["labels"][1:])]
            labels[0, _own_positions(batch, 0, len(flat))] = torch.tensor(flat)
        else:
            for row, example in enumerate(examples):
                own = _own_positions(batch, row, len(example["labels"]))
                labels[row, own] = torch.tensor(example["labels"])
        batch["labels"] = labels
        return batch


_MADE_LABELS = "_labels_made_by_collator"


def _without(example: Example, *keys: str) -> Example:
    return {key: value for key, value in example.items() if key not in keys}


def _without_padding(example: Example) -> Example:
    """Data sets may come padded; padding is neither a prompt nor an answer."""
    mask = example.get("attention_mask")
    if mask is None or all(mask):
        return example
    own = [i for i, real in enumerate(mask) if real]
    shorter = {key: [value[i] for i in own] for key, value in _per_token(example).items()}
    return {**example, **shorter}


def _own_positions(batch: Mapping[str, Any], row: int, length: int) -> Tensor:
    """Where a row's own tokens stand, ``(length,)``, whichever side is padded."""
    mask = batch.get("attention_mask")
    rows, width = batch["labels"].shape
    own = torch.arange(width) if mask is None or row >= rows else mask[row].nonzero().squeeze(1)
    if row >= rows or own.shape[0] != length:
        raise UsageError(
            "the data collator neither keeps the labels of the examples nor gives an attention "
            "mask: give the data a labels column and use a collator that pads it, e.g. "
            "DataCollatorForSeq2Seq"
        )
    return own
