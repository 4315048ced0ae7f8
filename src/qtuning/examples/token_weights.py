"""Users' weights of rows and messages as one weight a token, by the spans of the messages.

The weights come to TRL's preparation as the column ``MESSAGE_WEIGHTS``, which is made of the rows
here where no reader has made it, and leave it as ``LOSS_WEIGHT``: a list with the factor on the
loss of each label. Labels of weight 0 become -100, so that they are in no statistic.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

from datasets import Dataset, IterableDataset
from transformers import PreTrainedTokenizerBase

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..io.formats import TOOLS_AS_TEXT, columns_of
from ..io.turns import messages_in, without_nulls
from ..io.weights import (
    LOSS_WEIGHT,
    MESSAGE_WEIGHTS,
    OTHER_KEYS,
    WEIGHT_KEYS,
    row_weight,
    token_weights,
    weights_of_messages,
)
from .spans import SpanError, message_ends, text_ends
from .templates import messages_of

# As TRL chooses among them.
_TALKS_OF_TRL = (("prompt", "completion"), ("conversations",), ("messages",))
_TALKS = tuple(name for names in _TALKS_OF_TRL for name in names)
EMPTIED = "emptied_by_weights"
"""Column that says whether weights have taken all labels of a row."""


def with_message_weights(rows: Any, where: str) -> Any:
    """The rows with their weights as ``MESSAGE_WEIGHTS``, or, if they are tokens, as they are.

    Args:
        rows: A ``datasets`` data set or stream, before or after it is read for TRL.
        where: The name of the data in messages.

    Returns:
        The rows; None if they have no weights, or a ``datasets`` data set whose weights are all 1.
        The rows of a stream may have none all the same.

    Raises:
        UsageError: A weight cannot be read.
    """
    columns = columns_of(rows)
    if MESSAGE_WEIGHTS in columns:
        return rows
    if "input_ids" in columns:
        return rows if LOSS_WEIGHT in columns or rows.features is None else None
    if not _may_weigh(rows, columns):
        return None
    read = _ReadWeights(where)
    if isinstance(rows, IterableDataset):
        return rows.map(read, with_indices=True)
    wanted = [name for name in (LOSS_WEIGHT, *_TALKS) if name in columns]
    plain = rows.with_format(None).select_columns(wanted)
    weights = [read(row, index).get(MESSAGE_WEIGHTS) for index, row in enumerate(plain)]
    if not any(weights):
        return None
    return rows.add_column(MESSAGE_WEIGHTS, [one or [1.0] for one in weights])


def has_weights(rows: Any) -> bool:
    """Whether rows as loaded say a weight: of a row in a column, or of a message in a key.

    Args:
        rows: A ``datasets`` data set, or a stream, whose types or first row are asked.
    """
    columns = columns_of(rows)
    if LOSS_WEIGHT in columns:
        return True
    talks = [name for name in _TALKS if name in columns]
    if not isinstance(rows, Dataset):
        return any(_says_weight(row[name]) for row in islice(rows, 1) for name in talks)
    kinds = {name: repr(rows.features[name]) for name in talks}
    # Objects of JSON, and text that may be JSON, are not in the types.
    open_ones = [name for name, kind in kinds.items() if "Json(" in kind or "List(" not in kind]
    told = any(_says_weight(value) for name in open_ones for value in rows.with_format(None)[name])
    return told or any(repr(key) in kind for key in WEIGHT_KEYS for kind in kinds.values())


def _says_weight(value: object) -> bool:
    """Whether a conversation, or text that is one, has a message with a weight."""
    try:
        messages = messages_in(value)
    except ValueError:
        return False
    return isinstance(messages, list) and any(
        isinstance(one, Mapping) and any(one.get(key) is not None for key in WEIGHT_KEYS)
        for one in messages
    )


def _may_weigh(rows: Any, columns: list[str]) -> bool:
    """Whether rows may have weights, by the types of their columns."""
    if LOSS_WEIGHT in columns:
        return True
    kinds: Mapping[str, Any] | None = rows.features
    if kinds is None:
        return True
    kind = "".join(repr(kinds[name]) for name in _TALKS if name in columns)
    return "Json(" in kind or any(repr(key) in kind for key in (*WEIGHT_KEYS, *OTHER_KEYS))


@dataclass(frozen=True)
class _ReadWeights:
    """Reads the weights of a row of texts or conversations."""

    where: str

    def __call__(self, row: Mapping[str, Any], index: int) -> dict[str, list[float]]:
        """The column ``MESSAGE_WEIGHTS``; nothing if all weights are 1, or it is there."""
        if MESSAGE_WEIGHTS in row or "input_ids" in row:
            return {}
        try:
            messages = _messages(row)
            weights = weights_of_messages(row, messages) if messages else [row_weight(row)]
        except ValueError as error:
            raise _refused(self.where, index, error) from error
        return {} if weights in (None, [1.0]) else {MESSAGE_WEIGHTS: list(weights or ())}


def _messages(row: Mapping[str, Any]) -> list[Any]:
    """The messages of a row that TRL makes tokens of."""
    names = next((names for names in _TALKS_OF_TRL if names[0] in row), ())
    return [one for name in names if isinstance(row[name], list) for one in row[name]]


@dataclass(frozen=True)
class TokenWeights:
    """Makes ``LOSS_WEIGHT`` of rows that are tokens, before they are cut.

    Attributes:
        where: The name of the data in messages.
        tokenizer: The tokenizer.
        template: The chat template in force; None if there is none.
        fills: Whether a row without weights gets weights of 1, rather than no column.
    """

    where: str
    tokenizer: PreTrainedTokenizerBase
    template: str | None
    fills: bool = False

    def __call__(self, row: Mapping[str, Any], index: int) -> dict[str, list[float]]:
        """The column ``LOSS_WEIGHT``, ``(L,)``.

        Raises:
            UsageError: A weight cannot be read, or the tokens of a message cannot be told.
        """
        n, weights = len(row["input_ids"]), row.get(MESSAGE_WEIGHTS)
        try:
            if weights is not None and not isinstance(row.get(LOSS_WEIGHT), list):
                return {LOSS_WEIGHT: self._spread(row, list(weights), n)}
            if row.get(LOSS_WEIGHT) is not None:
                return {LOSS_WEIGHT: token_weights(row[LOSS_WEIGHT], n)}
        except SpanError as error:
            raise _not_apart(self.where, index, error) from error
        except ValueError as error:
            raise _refused(self.where, index, f"{LOSS_WEIGHT} {error}") from error
        return {LOSS_WEIGHT: [1.0] * n} if self.fills else {}

    def _spread(self, row: Mapping[str, Any], weights: list[float], n: int) -> list[float]:
        """A weight for each of ``n`` tokens."""
        changes = _changes(weights)
        if not changes:
            return weights[:1] * n
        if self.template is None:
            raise SpanError("there is no chat template")
        row = as_trl_reads(row)
        if len(weights) != len(messages_of(row) or ()):
            raise SpanError("they are not the messages that have them")
        ends = message_ends(row, row["input_ids"], self.tokenizer, self.template, changes)
        places = [0, *ends.values(), n]
        lengths = [end - start for start, end in pairwise(places)]
        values = [weights[0], *(weights[place] for place in changes)]
        pairs = zip(values, lengths, strict=True)
        return [weight for weight, length in pairs for _ in range(length)]


def check_messages_apart(
    rows: Any, where: str, tokenizer: PreTrainedTokenizerBase, template: str
) -> None:
    """Check that a chat template keeps those messages apart whose weights differ.

    Args:
        rows: Rows in columns that TRL reads; a stream is not looked at.
        where: The name of the data in messages.
        tokenizer: The tokenizer.
        template: The chat template in force.

    Raises:
        UsageError: It does not, in some row.
    """
    if not isinstance(rows, Dataset) or MESSAGE_WEIGHTS not in rows.column_names:
        return
    for index, weights in enumerate(rows[MESSAGE_WEIGHTS]):
        changes = _changes(weights)
        if not changes:
            continue
        try:
            text_ends(as_trl_reads(rows[index]), tokenizer, template, changes)
        except SpanError as error:
            raise _not_apart(where, index, error) from error


def _changes(weights: Sequence[float]) -> list[int]:
    """Numbers of the messages, from 1, after which another weight begins."""
    return [n for n in range(1, len(weights)) if weights[n] != weights[n - 1]]


def as_trl_reads(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a conversation without the nulls that older TRL takes out."""
    read = {"messages": messages_of(row), "tools": row.get("tools")}
    return {**row, **(read if TOOLS_AS_TEXT else without_nulls(read))}


def _not_apart(where: str, index: int, error: SpanError) -> UsageError:
    return _refused(
        where,
        index,
        f"the tokens of its messages, whose weights differ, cannot be told apart: {error}; name "
        "another template with chat_template_path, or give all messages one weight",
    )


@dataclass(frozen=True)
class WeightedLabels:
    """Cuts ``LOSS_WEIGHT`` as TRL has cut the tokens, and takes labels of weight 0 out.

    Attributes:
        keep_end: Whether TRL cuts off the beginning.
        completion_only: Whether ``completion_mask`` is followed where older TRL makes no labels.
        tells: Whether to add ``EMPTIED``.
    """

    keep_end: bool
    completion_only: bool
    tells: bool = False

    def __call__(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """``LOSS_WEIGHT`` and ``labels``, each ``(L,)``; nothing for a row without weights."""
        weights = row.get(LOSS_WEIGHT)
        if weights is None:
            return {}
        ids = row["input_ids"]
        n, whole = len(ids), len(weights)
        weights = weights[whole - n :] if self.keep_end else weights[:n]
        labels = labels_by_trl(row, self.completion_only)
        kept = [y if w > 0 else IGNORE_INDEX for y, w in zip(labels, weights, strict=True)]
        emptied = _has_label(labels) and not _has_label(kept)
        told = {EMPTIED: emptied} if self.tells else {}
        return {LOSS_WEIGHT: list(weights), "labels": kept, **told}


def labels_by_trl(row: Mapping[str, Any], completion_only: bool) -> list[int]:
    """The labels of a row that TRL has prepared, ``(L,)``; older TRL gives masks instead.

    Args:
        row: The prepared row.
        completion_only: Whether ``completion_mask`` is followed.
    """
    if row.get("labels") is not None:
        return list(row["labels"])
    labels = list(row["input_ids"])
    for name in ("assistant_masks", *(("completion_mask",) if completion_only else ())):
        if row.get(name) is not None:
            pairs = zip(labels, row[name], strict=True)
            labels = [y if bit else IGNORE_INDEX for y, bit in pairs]
    return labels


def _has_label(labels: list[int]) -> bool:
    """Whether a row has a label that is predicted; its first never is."""
    return any(label != IGNORE_INDEX for label in labels[1:])


def _refused(where: str, index: int, problem: object) -> UsageError:
    return UsageError(f"{where}, row {index + 1}: {problem}")
