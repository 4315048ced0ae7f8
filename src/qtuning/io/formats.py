"""The columns of training data: detect the format, check rows, and convert them for TRL.

TRL decides row by row by the first columns that it knows. So an additional ``text`` column takes
the end-of-sequence token from ``completion``, and an additional ``prompt`` replaces ``messages``.
Here one format is chosen, and the columns that would compete with it are dropped; all others stay.
"""

from collections.abc import Iterator
from typing import Any, TypeAlias

from datasets import Dataset, IterableDataset

from ..errors import UsageError
from .token_ids import check_tokens

Rows: TypeAlias = Dataset | IterableDataset
Row: TypeAlias = dict[str, Any]

WANTED = (
    "input_ids; messages; conversations; prompt and completion; "
    "instruction and output (input optional); or {text}"
)
# From ShareGPT's names of the speakers to those of chat templates.
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"}
KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool")
# Columns that TRL would take for the sample itself, or for its labels.
_COMPETING = {
    *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "text"),
    *("labels", "attention_mask", "completion_mask", "assistant_masks"),
}


def columns_of(data: Rows) -> list[str]:
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


def to_trl(data: Rows, where: str, *, chat: bool, text_field: str = "text") -> Rows:
    """Check every row and convert the columns for TRL; a stream is checked while it is read.

    Args:
        data: The rows as loaded.
        where: The name of the data in messages.
        chat: Whether the tokenizer has a chat template; if so, Alpaca data become conversations.
        text_field: TRL's ``dataset_text_field``.

    Raises:
        UsageError: The format is unknown, there are no rows, or a row cannot be trained on.
    """
    first = next(iter(data), None)
    if first is None:
        raise UsageError(f"{where}: no rows; name a file or split that has some")
    columns = columns_of(data)
    names = find_format(columns, where, text_field)
    if names == ("input_ids",):
        check_tokens(data, where)
        return data  # columns of masks and labels are part of the format
    check_row(first, 0, names=names, where=where)
    if isinstance(data, Dataset):
        for index, row in enumerate(_rows(data, columns, names)):
            check_row(row, index, names=names, where=where)
    else:
        checks = {"names": names, "where": where}
        data = data.map(check_row, with_indices=True, fn_kwargs=checks, features=data.features)
    return _convert(data, first, columns, names, chat=chat, text_field=text_field)


def _rows(data: Dataset, columns: list[str], names: tuple[str, ...]) -> Iterator[Row]:
    """The rows, with only the columns that are checked."""
    checked_columns = [*names, "input"] if names == ("instruction", "output") else list(names)
    yield from data.select_columns([name for name in checked_columns if name in columns])


def _convert(
    data: Rows,
    first: Row,
    columns: list[str],
    names: tuple[str, ...],
    *,
    chat: bool,
    text_field: str,
) -> Rows:
    """Drop competing columns, and rename and convert those of the format for TRL."""
    competing_columns = (_COMPETING | {text_field}) - set(names)
    drop = [column for column in columns if column in competing_columns]
    if names == ("instruction", "output"):
        drop += [column for column in columns if column in ("instruction", "output", "input")]
        return data.map(alpaca, fn_kwargs={"chat": chat}, remove_columns=drop)
    if drop:
        data = data.remove_columns(drop)
    conversation_columns = [name for name in names if isinstance(first[name], list)]
    if any("from" in first[name][0] for name in conversation_columns):
        return data.map(
            share_gpt,
            fn_kwargs={"columns": conversation_columns},
            remove_columns=conversation_columns,
        )
    if names == ("conversations",):
        # TRL reads a column conversations only with ShareGPT's keys.
        return data.rename_column("conversations", "messages")
    return data


def alpaca(row: Row, *, chat: bool) -> Row:
    """Convert an Alpaca row, instruction and output, to TRL's prompt and completion."""
    extra = row.get("input")
    prompt = f"{row['instruction']}\n\n{extra}" if extra else row["instruction"]
    if not chat:
        return {"prompt": f"{prompt}\n\n", "completion": row["output"]}
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": row["output"]}],
    }


def share_gpt(row: Row, *, columns: list[str]) -> Row:
    """Convert ShareGPT's from and value to role and content.

    TRL renames the keys as well, but keeps the speakers "human" and "gpt".
    """
    return {
        "messages" if column == "conversations" else column: [_turn(turn) for turn in row[column]]
        for column in columns
    }


def _turn(turn: Row) -> Row:
    speaker = turn.get("from")
    if speaker is None:  # some data mixes both kinds of keys
        return {"role": turn["role"], "content": turn["content"]}
    return {"role": ROLES.get(speaker, speaker), "content": turn["value"]}


def check_row(row: Row, index: int, *, names: tuple[str, ...], where: str) -> Row:
    """Check that a row can be trained on, and return it.

    Args:
        row: The row.
        index: Its index, from 0; messages count rows from 1.
        names: The columns of the format.
        where: The name of the data in messages.

    Raises:
        UsageError: The row cannot be trained on.
    """
    is_conversation = names in (("messages",), ("conversations",)) or (
        names == ("prompt", "completion") and any(isinstance(row[name], list) for name in names)
    )
    problems = {
        name: _bad_turns(row[name]) if is_conversation else _bad_text(row[name]) for name in names
    }
    if names == ("instruction", "output") and row.get("input") is not None:
        problems["input"] = _bad_text(row["input"])
    for name, problem in problems.items():
        if problem:
            raise UsageError(
                f"{where}, row {index + 1}: {name} {problem}; mend the row or leave it out"
            )
    return row


def _bad_text(value: object) -> str | None:
    """Why ``value`` is no text; None if it is."""
    return None if isinstance(value, str) else f"is {_kind(value)}, not text"


def _bad_turns(value: object) -> str | None:
    """Why ``value`` is no conversation; None if it is."""
    if not isinstance(value, list):
        return f"is {_kind(value)}, not a list of messages"
    if not value:
        return "has no messages"
    for number, message in enumerate(value, 1):
        problem = _bad_message(message)
        if problem:
            return f"message {number} {problem}"
    return None


def _bad_message(message: object) -> str | None:
    """Why ``message`` is no message of a conversation; None if it is."""
    if not isinstance(message, dict):
        return f"is {_kind(message)}, not an object with role and content"
    if (speaker := message.get("from")) is not None:
        speakers = (*ROLES, *KNOWN_ROLES)
        if speaker not in speakers:  # a tuple, since the value may not be hashable
            return f"is from {speaker!r}, not from one of {', '.join(speakers)}"
        return None if isinstance(message.get("value"), str) else "has no text in value"
    if not isinstance(message.get("role"), str):
        return "has no role"
    # A tool call has no content; images and other parts come as a list.
    if message.get("tool_calls") or isinstance(message.get("content"), (str, list)):
        return None
    return "has no content"


def _kind(value: object) -> str:
    """The type of a value, in the terms of JSON."""
    if value is None:
        return "empty"
    names = {str: "text", list: "a list", dict: "an object", bool: "a truth value"}
    return names.get(type(value), "a number")
