"""The columns of training data: find the format by what is there, and make it what TRL reads.

TRL decides row by row from whichever columns it meets first, so a stray ``text`` beside a
``completion`` takes its end-of-sequence token, and a stray ``prompt`` replaces ``messages``. Here
one format is chosen and the columns that would compete with it are dropped; all others stay.
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
# ShareGPT's names of the speakers; chat templates know the names on the right.
ROLES = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "bing": "assistant"}
KNOWN_ROLES = ("system", "developer", "user", "assistant", "tool")
# What TRL would take for the sample itself, or for labels that are already made.
_COMPETING = {
    *("messages", "conversations", "prompt", "completion", "chosen", "rejected", "text"),
    *("labels", "attention_mask", "completion_mask", "assistant_masks"),
}


def columns_of(data: Rows) -> list[str]:
    """The column names; a stream may know them from its first row only."""
    if data.column_names is not None:
        return list(data.column_names)
    return list(next(iter(data), {}))


def find_format(columns: list[str], where: str, text_field: str = "text") -> tuple[str, ...]:
    """The columns that hold a sample, in the first known format that is complete.

    Raises:
        UsageError: No known format.
    """
    known = (
        ("input_ids",),
        ("messages",),
        ("conversations",),
        ("prompt", "completion"),
        ("instruction", "output"),
        (text_field,),
    )
    for names in known:
        if set(names) <= set(columns):
            return names
    raise UsageError(
        f"{where}: no column to train on among {', '.join(columns)}; "
        f"rename them to one of: {WANTED.format(text=text_field)}"
    )


def to_trl(data: Rows, where: str, *, chat: bool, text_field: str = "text") -> Rows:
    """Check every row and give TRL a format it reads right; streams are checked as they are read.

    Args:
        data: The rows as loaded.
        where: What to call them in messages.
        chat: Make conversations of Alpaca data, since the tokenizer has a chat template.
        text_field: TRL's ``dataset_text_field``.

    Raises:
        UsageError: No known format, no rows, or a row that cannot be trained on.
    """
    first = next(iter(data), None)
    if first is None:
        raise UsageError(f"{where}: no rows; name a file or split that has some")
    columns = columns_of(data)
    names = find_format(columns, where, text_field)
    if names == ("input_ids",):
        check_tokens(data, where)
        return data  # masks and labels beside it are part of the format
    check_row(first, 0, names=names, where=where)
    if isinstance(data, Dataset):
        for index, row in enumerate(_rows(data, columns, names)):
            check_row(row, index, names=names, where=where)
    else:
        checks = {"names": names, "where": where}
        data = data.map(check_row, with_indices=True, fn_kwargs=checks, features=data.features)
    return _convert(data, first, columns, names, chat=chat, text_field=text_field)


def _rows(data: Dataset, columns: list[str], names: tuple[str, ...]) -> Iterator[Row]:
    """The rows without what is not checked."""
    wanted = [*names, "input"] if names == ("instruction", "output") else list(names)
    yield from data.select_columns([name for name in wanted if name in columns])


def _convert(
    data: Rows,
    first: Row,
    columns: list[str],
    names: tuple[str, ...],
    *,
    chat: bool,
    text_field: str,
) -> Rows:
    stray = (_COMPETING | {text_field}) - set(names)
    drop = [column for column in columns if column in stray]
    if names == ("instruction", "output"):
        drop += [column for column in columns if column in ("instruction", "output", "input")]
        return data.map(alpaca, fn_kwargs={"chat": chat}, remove_columns=drop)
    if drop:
        data = data.remove_columns(drop)
    talks = [name for name in names if isinstance(first[name], list)]
    if any("from" in first[name][0] for name in talks):
        return data.map(share_gpt, fn_kwargs={"columns": talks}, remove_columns=talks)
    if names == ("conversations",):
        # TRL reads this column only with ShareGPT's keys.
        return data.rename_column("conversations", "messages")
    return data


def alpaca(row: Row, *, chat: bool) -> Row:
    """An instruction with its output as TRL's prompt and completion."""
    extra = row.get("input")
    prompt = f"{row['instruction']}\n\n{extra}" if extra else row["instruction"]
    if not chat:
        return {"prompt": f"{prompt}\n\n", "completion": row["output"]}
    return {
        "prompt": [{"role": "user", "content": prompt}],
        "completion": [{"role": "assistant", "content": row["output"]}],
    }


def share_gpt(row: Row, *, columns: list[str]) -> Row:
    """ShareGPT's from/value as role/content; TRL renames the keys but keeps "human" and "gpt"."""
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
    """Hand the row on if it can be trained on.

    Raises:
        UsageError: It cannot; the message has the row's number, the first being 1.
    """
    talks = names in (("messages",), ("conversations",)) or (
        names == ("prompt", "completion") and any(isinstance(row[name], list) for name in names)
    )
    problems = {name: _bad_turns(row[name]) if talks else _bad_text(row[name]) for name in names}
    if names == ("instruction", "output") and row.get("input") is not None:
        problems["input"] = _bad_text(row["input"])
    for name, problem in problems.items():
        if problem:
            raise UsageError(
                f"{where}, row {index + 1}: {name} {problem}; mend the row or leave it out"
            )
    return row


def _bad_text(value: object) -> str | None:
    return None if isinstance(value, str) else f"is {_kind(value)}, not text"


def _bad_turns(value: object) -> str | None:
    """What keeps ``value`` from being a conversation."""
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
    if not isinstance(message, dict):
        return f"is {_kind(message)}, not an object with role and content"
    if (speaker := message.get("from")) is not None:
        known = (*ROLES, *KNOWN_ROLES)
        if speaker not in known:  # a tuple, since it may be anything
            return f"is from {speaker!r}, not from one of {', '.join(known)}"
        return None if isinstance(message.get("value"), str) else "has no text in value"
    if not isinstance(message.get("role"), str):
        return "has no role"
    # A call of a tool has no content; pictures and the like come as a list of parts.
    if message.get("tool_calls") or isinstance(message.get("content"), (str, list)):
        return None
    return "has no content"


def _kind(value: object) -> str:
    """The value's type in the words of JSON."""
    if value is None:
        return "empty"
    names = {str: "text", list: "a list", dict: "an object", bool: "a truth value"}
    return names.get(type(value), "a number")
