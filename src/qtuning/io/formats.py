"""The columns of training data: detect the format, and read every row for TRL.

TRL decides row by row by the first columns that it knows. So an additional ``text`` column takes
the end-of-sequence token from ``completion``, and an additional ``prompt`` replaces ``messages``.
Here one format is chosen, and the columns that would compete with it are dropped; all others stay.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, TypeAlias

import datasets
import pyarrow as pa
from datasets import Dataset, Features, IterableDataset, Value
from packaging.version import Version

from ..errors import UsageError
from .rows import Row, RowReader, columns_with, holds_talk
from .token_ids import check_tokens
from .weights import LOSS_WEIGHT, MESSAGE_WEIGHTS, OF_MESSAGES

logger = logging.getLogger(__name__)

Rows: TypeAlias = Dataset | IterableDataset

WANTED = (
    "input_ids; messages; conversations; prompt and completion; "
    "instruction and output (input optional); or {text}"
)
# Columns that TRL would take for the sample itself, or for its labels.
_COMPETING = {
    *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "text"),
    *("labels", "attention_mask", "completion_mask", "assistant_masks", MESSAGE_WEIGHTS),
}
UNREAD: tuple[str, ...] = ("system", "history", "functions", "system_prompt", "system_message")
UNREAD += ("video", "videos", "audio", "audios")
"""What says something about the sample that would be trained on, and is read with some formats, or
with none."""
_DECISIVE = (*UNREAD, "tools", "image", "images")
# What may be the sample in another spelling.
_RIVALS = (
    *sorted(_COMPETING),
    *("instruction", "input", "output", "response", "answer", "question", "query", "context"),
    *("conversation", "dialogue", "dialog", "turns", "target", "sample_weight"),
)
_EMPTY: tuple[Any, ...] = (None, "", "[]", [], {})
TOOLS_AS_TEXT = Version(version("trl")) >= Version("0.29")
"""Whether TRL reads tools as JSON text; where not, it takes out the nulls that Arrow fills in."""


def columns_of(data: Rows | pa.Table) -> list[str]:
    """The column names; those of a stream may have to be read off its first row."""
    if data.column_names is not None:
        return list(data.column_names)
    return list(next(iter(data), {}))


def find_format(columns: list[str], where: str, text_field: str = "text") -> tuple[str, ...]:
    """The columns that hold a sample: those of the first format whose columns are all there.

    Args:
        columns: The column names of the data.
        where: The name of the data in messages.
        text_field: TRL's ``dataset_text_field``.

    Raises:
        UsageError: The columns of no known format are all there.
    """
    formats = (
        ("input_ids",),
        ("messages",),
        ("conversations",),
        ("prompt", "completion"),
        ("instruction", "output"),
        (text_field,),
    )
    for names in formats:
        if set(names) <= set(columns):
            return names
    raise UsageError(
        f"{where}: no column to train on among {', '.join(columns)}; "
        f"rename them to one of: {WANTED.format(text=text_field)}"
    )


def to_trl(
    data: Rows,
    where: str,
    *,
    chat: bool,
    text_field: str = "text",
    assistant: bool = False,
    calls: bool = True,
    lost: frozenset[str] = frozenset(),
) -> Rows:
    """Read every row and convert the columns for TRL; a stream is read as it comes.

    Args:
        data: The rows as loaded.
        where: The name of the data in messages.
        chat: Whether rows are written by a chat template; if so, Alpaca data become conversations.
        text_field: TRL's ``dataset_text_field``.
        assistant: Whether every conversation must have a turn of the assistant.
        calls: Whether the chat template prints calls of tools.
        lost: Keys of messages that the chat template does not print.

    Raises:
        UsageError: The format is unknown, there are no rows, a row cannot be trained on, or a
            column that would change what is trained is not read.
    """
    first = next(iter(data), None)
    if first is None:
        raise UsageError(f"{where}: no rows; name a file or split that has some")
    columns = columns_of(data)
    names = find_format(columns, where, text_field)
    for name in OF_MESSAGES:
        if name in columns and isinstance(data, Dataset):
            _check_no_weight(data[name], name, where)
    if names == ("input_ids",):
        check_tokens(data, where)
        return data  # columns of masks and labels are part of the format
    # Rows of a stream that does not name its columns may have others than the first row.
    more = columns_with(names) + _DECISIVE if data.column_names is None else ()
    reader = RowReader(
        names=names,
        columns=tuple(dict.fromkeys((*columns, *more))),
        where=where,
        chat=chat,
        talk=holds_talk(first, names),
        assistant=assistant,
        calls=calls,
        lost=lost,
        filled=_filled(data),
        tools_as_text=TOOLS_AS_TEXT,
    )
    unread = [name for name in columns if name not in reader.reads]
    named = {*_RIVALS, *([] if text_field == "text" else [text_field])}
    rivals = [name for name in unread if name in named]
    if rivals:
        logger.warning(
            f"{where}: trained on are the columns {', '.join(reader.reads)}; not read are "
            f"{', '.join(rivals)}"
        )
    decisive = [
        name
        for name in reader.columns
        if name in _DECISIVE and name not in reader.reads and names != (text_field,)
    ]
    drop = [name for name in columns if name in (_COMPETING | {text_field, *reader.reads})]
    if not isinstance(data, Dataset):
        read = _ReadOne(reader, decisive)
        return data.map(read, with_indices=True, remove_columns=drop)
    for name in decisive:
        check_unread(data[name], name, where)
    return _converted(data, reader, drop)


def check_unread(values: Sequence[Any], name: str, where: str, start: int = 0) -> None:
    """Check that a column that is not read says nothing.

    Args:
        values: Its values.
        name: Its name.
        where: The name of the data in messages.
        start: Number of the first row, from 0.

    Raises:
        UsageError: A row has a value.
    """
    for index, value in enumerate(values, start):
        if value not in _EMPTY:
            instead = "put it into the conversation, or remove the column"
            if name in ("image", "images"):
                instead = "`qtuning train` and `qtuning score` read it; here remove the column"
            raise UsageError(
                f"{where}, row {index + 1}: {name} is not read in this format, and would change "
                f"what is trained: {instead}"
            )


def _check_no_weight(values: Sequence[Any], name: str, where: str, start: int = 0) -> None:
    """Check that a column that is called as a key of messages holds no weights.

    Args:
        values: Its values.
        name: Its name.
        where: The name of the data in messages.
        start: Number of the first row, from 0.

    Raises:
        UsageError: A row has a number that is not 1, or false.
    """
    for index, value in enumerate(values, start):
        if _says_number(value):
            raise UsageError(
                f"{where}, row {index + 1}: {name} is read in messages alone: call the weight of a "
                f"row {LOSS_WEIGHT}, or rename the column if it is none"
            )


def _says_number(value: object) -> bool:
    """Whether a value is a number that is not 1, or false, or the text of such a number."""
    try:
        number = float(value) if isinstance(value, int | float | str) and value != "" else 1.0
    except (ValueError, OverflowError):
        return False
    return number != 1.0 and not math.isnan(number)


class _ReadOne:
    """Reads the rows of a stream one by one."""

    def __init__(self, reader: RowReader, decisive: Sequence[str]) -> None:
        self._reader, self._decisive = reader, decisive

    def __call__(self, row: Row, index: int) -> Row:
        for name in self._decisive:
            check_unread([row.get(name)], name, self._reader.where, index)
        for name in OF_MESSAGES:
            _check_no_weight([row.get(name)], name, self._reader.where, index)
        return self._reader(row, index)


def _converted(data: Dataset, reader: RowReader, drop: list[str]) -> Dataset:
    """The rows with the columns that TRL reads; those that have them already stay as they are."""
    differs, plain = False, True
    made: dict[str, Any] = {}
    heaviest = 0.0
    for index, row in enumerate(data.select_columns(reader.reads)):
        read = reader(row, index)
        differs = differs or any(row.get(name, read) != value for name, value in read.items())
        plain = plain and all(_is_plain(name, value) for name, value in read.items())
        made |= {name: value for name, value in read.items() if value is not None}
        heaviest = max([heaviest, *_trained_weights(read, reader)])
    if heaviest == 0:
        raise UsageError(
            f"{reader.where}: all that would be trained has weight 0; give a row or a message more"
        )
    if not differs:
        rivals = [name for name in drop if name not in reader.reads or name == LOSS_WEIGHT]
        return data.remove_columns(rivals) if rivals else data
    turn = {"role": Value("string"), "content": Value("string")} if plain else _json(reader.where)
    features = Features({name: kind for name, kind in data.features.items() if name not in drop})
    for name, value in made.items():
        features[name] = [turn] if isinstance(value, list) else Value("string")
    if MESSAGE_WEIGHTS in made:
        features[MESSAGE_WEIGHTS] = [Value("float64")]
    return data.map(
        _as_columns,
        with_indices=True,
        fn_kwargs={"reader": reader, "names": list(made)},
        remove_columns=drop,
        features=None if turn is None else features,
    )


def _as_columns(row: Row, index: int, *, reader: RowReader, names: Sequence[str]) -> Row:
    """What the columns of a row become, but for columns that no row has."""
    read = {MESSAGE_WEIGHTS: [1.0], **reader(row, index)}
    return {name: read[name] for name in names}


def _trained_weights(read: Row, reader: RowReader) -> Sequence[float]:
    """The weights of those messages of a row that may be trained on."""
    weights: list[float] = read.get(MESSAGE_WEIGHTS, [1.0])
    if len(weights) == 1:
        return weights
    if "completion" in read:
        return weights[-len(read["completion"]) :]
    turns = zip(weights, read["messages"], strict=True)
    return [w for w, turn in turns if turn["role"] == "assistant" or not reader.assistant]


def _is_plain(name: str, value: Any) -> bool:
    """Whether a column's value needs no more than text and messages of role and content."""
    if not isinstance(value, list) or name == MESSAGE_WEIGHTS:
        return True
    return name != "tools" and all(len(turn) == 2 for turn in value)


def _json(where: str) -> Any:
    """The type of columns whose objects differ from row to row; None where datasets has none."""
    if hasattr(datasets, "Json"):
        return datasets.Json()
    logger.warning(
        f"{where}: this version of datasets has no columns of JSON objects: those of differing "
        "keys, as calls of tools, are filled up with nulls; use a newer one"
    )
    return None


def _filled(data: Rows) -> frozenset[str]:
    """The columns whose objects Arrow may have filled up with nulls: all but those of JSON."""
    features: Mapping[str, Any] = data.features or {}
    return frozenset(name for name in columns_of(data) if "Json(" not in repr(features.get(name)))
