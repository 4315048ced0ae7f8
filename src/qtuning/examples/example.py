"""Functions on one example: answer tokens, packed samples, and pruning of tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..io.weights import LOSS_WEIGHT

Example = dict[str, Any]

SAMPLE_ID = "sample_id"
BASE_NLL = "qtuning_base_nll"
"""Key of the NLL of each label under the model before training in nats, as ``LOSS_WEIGHT``."""
BASE_TAIL_MASS = "qtuning_base_tail"
"""Key of the tail mass of each label under the model before training, as ``LOSS_WEIGHT``."""
PER_LABEL = (LOSS_WEIGHT, BASE_NLL, BASE_TAIL_MASS)
"""Keys of what the loss reads of each label, a list as long as ``input_ids``, or ``(B, L)`` in a
batch that is trained on; no collator is given them."""
TURN = "qtuning_turn"
"""Key of the turn that each token belongs to, see ``turns``, a list as long as ``input_ids``; no
collator is given it."""
TOKEN_PLACES = "qtuning_token_places"
"""Key of the place of each token in the whole example, where only a part of it is scored."""
TOKEN_COLUMNS = frozenset(
    {
        "input_ids",
        "labels",
        "attention_mask",
        "position_ids",
        "token_type_ids",
        "mm_token_type_ids",
        "completion_mask",
        "assistant_masks",
        "special_tokens_mask",
        *PER_LABEL,
        TOKEN_PLACES,
        TURN,
    }
)
"""The columns that have a value for each token; all others belong to the whole example."""
SAMPLES = "qtuning_samples"
"""Key of the ``BatchSamples`` of a batch whose loss is weighted."""


@dataclass(frozen=True)
class BatchSamples:
    """The samples of a collated batch, in order.

    A class and not a tuple, so that moving a batch to the device leaves it alone.

    Attributes:
        names: Id of each sample.
        lengths: Number of answer tokens of each sample.
    """

    names: list[str]
    lengths: list[int]


@dataclass(frozen=True)
class RawBatch:
    """A micro-batch of examples before collation; the class is the loader's collate function.

    A class and not a list, so that moving a batch to the device does not visit every token id.

    Attributes:
        examples: The examples as the data set has them.
    """

    examples: list[Example]


class NothingHere(dict[str, Any]):
    """A collated micro-batch without a label on this rank, for which a forward pass is made."""


class NothingAnywhere(NothingHere):
    """A collated micro-batch without a label on any rank, for which a forward pass is made."""


class NothingToTrain(dict[str, Any]):
    """A micro-batch without a label on any rank and without rows: no forward pass is made."""


def unpack(example: Mapping[str, Any]) -> list[Example]:
    """The samples of a row packed by TRL's ``bfd``; any other row is one sample.

    ``sample_id`` of a packed row has the name of each sample. Of a row that was packed without
    names it is one name, and a sample is called ``<row>:<place in the row>``.
    """
    if "seq_lengths" not in example:
        return [dict(example)]
    samples, start = [], 0
    tokens = per_token(example)
    for place, length in enumerate(example["seq_lengths"]):
        sample: Example = {k: v[start : start + length] for k, v in tokens.items()}
        if SAMPLE_ID in example:
            names = example[SAMPLE_ID]
            sample[SAMPLE_ID] = names[place] if isinstance(names, list) else f"{names}:{place}"
        samples.append(sample)
        start += length
    return samples


def packed_length(row: Mapping[str, Any]) -> int:
    """Input tokens of a row packed by TRL's ``bfd``; 0 for any other row."""
    return len(row["input_ids"]) if "seq_lengths" in row else 0


def n_input_of(example: Example) -> int:
    """Number of input tokens of an example."""
    return len(example["input_ids"])


def answers_of(example: Example) -> Tensor:
    """Positions of the answer tokens of an example from ``Labels.of``, ``(T,)``."""
    return answer_positions(example["labels"])


def gold_of(example: Example, answers: Tensor) -> Tensor:
    """Ids of the answer tokens of an example at ``answers``, ``(T,)`` int64."""
    return torch.tensor(example["labels"])[answers]


def answer_positions(labels: Sequence[int] | Tensor) -> Tensor:
    """Positions of the answer tokens in ``labels`` (L,); the first token is never predicted."""
    labels = torch.as_tensor(labels)
    return (labels[1:] != IGNORE_INDEX).nonzero().squeeze(1) + 1


def has_answers(rows: Any, completion_only: bool) -> bool:
    """Whether any row has an answer token; True where only the collator makes labels.

    Newer TRL leaves out rows that are all prompt, older TRL does not.

    Args:
        rows: A ``datasets.Dataset``.
        completion_only: Whether to read ``completion_mask``.
    """
    for column, ignore_value in (("labels", IGNORE_INDEX), ("completion_mask", 0)):
        if column in rows.column_names and (completion_only or column == "labels"):
            values = rows.with_format(None)[column]
            return any(value != ignore_value for row in values for value in row[1:])
    return len(rows) > 0


def prune_tokens(example: Example, answers: Tensor, keep: Tensor, mode: str) -> Example:
    """The example with its pruned answer tokens masked or dropped.

    Args:
        example: Per-token lists (``input_ids``, ``labels``, ...) and any other columns.
        answers: Positions of the answer tokens, ``(T,)``.
        keep: ``(T,)`` bool, False at pruned answer tokens.
        mode: ``"mask"``: the label becomes -100. ``"drop"``: the token is removed from every
            per-token list; ``position_ids`` are numbered again so that they stay consecutive.
    """
    if bool(keep.all()):
        return example
    pruned_positions = set(answers[~keep].tolist())
    if mode == "mask":
        labels = [
            IGNORE_INDEX if i in pruned_positions else y for i, y in enumerate(example["labels"])
        ]
        return {**example, "labels": labels}
    positions = [i for i in range(len(example["input_ids"])) if i not in pruned_positions]
    columns = {key: [value[i] for i in positions] for key, value in per_token(example).items()}
    if "position_ids" in columns:
        columns["position_ids"] = list(range(len(positions)))
    return {**example, **columns}


def without_prompt(example: Example, answers: Tensor) -> Example | None:
    """The answer of an example alone: its answer tokens, and the token before each stretch of them.

    The token before a stretch predicts the stretch's first token, as it does in the whole example:
    the line end or the marker of the assistant's turn that a prompt ends with. So the first answer
    token counts, with any tokenizer and chat template, and in each of several turns.

    Args:
        example: Per-token lists (``input_ids``, ``labels``, ...) and any other columns.
        answers: Positions of the answer tokens, ``(T,)``, at least one.

    Returns:
        The example without its other tokens; None if it has none, so that it has no prompt: plain
        text, or a conversation of which every turn is an answer.
    """
    positions = torch.unique(torch.cat([answers, answers - 1])).tolist()
    if len(positions) == len(example["input_ids"]):
        return None
    columns = {key: [value[i] for i in positions] for key, value in per_token(example).items()}
    if "position_ids" in columns:
        columns["position_ids"] = list(range(len(positions)))
    return {**example, **columns}


def nothing_to_train_on(example: Example) -> Example:
    """Two unlabelled tokens of an example: the forward pass of a rank with nothing to train on."""
    tokens = {key: (list(value) * 2)[:2] for key, value in per_token(example).items()}
    if "position_ids" in tokens:
        tokens["position_ids"] = [0, 1]
    return {**example, **tokens, "labels": [IGNORE_INDEX, IGNORE_INDEX]}


def per_token(example: Mapping[str, Any]) -> dict[str, list[Any] | Tensor]:
    """The columns of an example that ``TOKEN_COLUMNS`` names, but for one number for all tokens.

    Raises:
        UsageError: One is not as long as ``input_ids``.
    """
    length = len(example["input_ids"])
    columns = {
        key: value
        for key, value in example.items()
        if key in TOKEN_COLUMNS and isinstance(value, list | Tensor)
    }
    for key, value in columns.items():
        if len(value) != length:
            raise UsageError(
                f"sample {example.get(SAMPLE_ID, '')}: {key} has {len(value)} values for {length} "
                "tokens; mend the column"
            )
    return columns
