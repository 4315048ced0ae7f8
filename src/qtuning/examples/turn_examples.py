"""Examples of turns: with the labels of one turn alone, and several of a conversation as one."""

from collections.abc import Sequence

from torch import Tensor

from ..core.stats import IGNORE_INDEX
from .example import PER_LABEL, Example, per_token

_AT_LABELS = frozenset({"labels", *PER_LABEL})


def of_turn(example: Example, answers: Tensor) -> Example:
    """An example with its labels at some positions alone.

    Args:
        example: A sample from ``Labels.of``.
        answers: Positions of answer tokens of one turn, ``(T,)``.
    """
    labels = [IGNORE_INDEX] * len(example["labels"])
    for position in answers.tolist():
        labels[position] = example["labels"][position]
    return {**example, "labels": labels}


def joined(parts: Sequence[Example], *, cut: bool) -> Example:
    """One example with the labels of several of the same input ids, and what goes with labels.

    Args:
        parts: The examples, of which no two have a label at one place.
        cut: Whether it ends with the last token that has a label: no earlier token sees what is
            behind it.
    """
    columns = {key: list(parts[0][key]) for key in _AT_LABELS & parts[0].keys()}
    for part in parts[1:]:
        for position, label in enumerate(part["labels"]):
            if label != IGNORE_INDEX:
                for key, values in columns.items():
                    values[position] = part[key][position]
    example = {**parts[0], **columns}
    if not cut:
        return example
    end = n_up_to_labels(example)
    return {**example, **{key: value[:end] for key, value in per_token(example).items()}}


def n_up_to_labels(example: Example) -> int:
    """Number of tokens of an example up to its last label, of which it has at least one."""
    return 1 + max(i for i, label in enumerate(example["labels"]) if label != IGNORE_INDEX)
