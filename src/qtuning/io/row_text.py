"""The text of a row, made safe to print or to put on a page: data are not trusted."""

import json
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UsageError
from .formats import find_format
from .rows import RowReader, holds_talk
from .turns import THOUGHTS, Turn, parsed, read_turns

LONGEST = 6000
"""Largest number of characters of a prompt or an answer on a page."""

_COLUMNS = ("prompt", "messages", "conversations", "instruction", "text")


def first_words(row: Mapping[str, Any], limit: int = 60) -> str | None:
    """The beginning of the prompt of a row; None if the row has no text.

    Args:
        row: A row of any format that can be trained on.
        limit: Largest number of characters.
    """
    for column in _COLUMNS:
        text = _text(row.get(column))
        if text:
            return clean(text, limit)
    return None


def clean(text: str, limit: int) -> str:
    """A text as one line without control characters, cut at ``limit`` characters.

    Characters that could move the cursor, colour a terminal or change the direction of writing are
    replaced: control and format characters, unpaired surrogates and unassigned code points.
    """
    words = " ".join(text[: 4 * limit].split())
    safe = "".join(
        c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in words
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def _text(value: Any) -> str:
    """A string, or the first turn of a conversation that is not the system's; else empty."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return value
    try:
        turns = read_turns(_parsed(value), filled=False)
    except ValueError:
        return value if isinstance(value, str) else ""
    others = [turn for turn in turns if turn["role"] != "system"]
    return next((text for text in map(_said, others or turns) if text), "")


class Text(NamedTuple):
    """A row as text, which must be escaped like all data of users.

    Attributes:
        prompt: The text before the answer.
        answer: The answer.
        cut: Number of characters of prompt and answer before they were cut; 0 if nothing was cut.
    """

    prompt: str
    answer: str
    cut: int


def text_of(row: Mapping[str, Any], names: Sequence[str], turn: int = 0) -> Text:
    """A row as prompt and answer, each cut at ``LONGEST`` characters.

    Args:
        row: The columns that hold the sample, and those that are read beside them.
        names: The columns that hold the sample, from ``text_columns``.
        turn: Which message of the assistant is the answer, counted from 1; 0 for the whole sample.

    Returns:
        The answer is the turn, else the last turn of the assistant, or the completion; what follows
        is not shown. A row that cannot be read for training is shown as it is.
    """
    prompt, answer = _parts(row, tuple(names), turn)
    n_characters = len(prompt) + len(answer)
    # Of a long prompt the end is shown, since the answer follows it.
    short_prompt = prompt if len(prompt) <= LONGEST else "…" + prompt[-LONGEST:]
    short_answer = answer if len(answer) <= LONGEST else answer[:LONGEST] + "…"
    cut = n_characters if (short_prompt, short_answer) != (prompt, answer) else 0
    return Text(_printable(short_prompt), _printable(short_answer), cut)


def text_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that hold a sample as text; empty for unknown formats and tokenised rows."""
    try:
        names = find_format(list(columns), "")
    except UsageError:
        return ()
    return () if names == ("input_ids",) else names


def columns_beside(names: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The columns that are read beside those of a format, such as the text of the system.

    Args:
        names: The columns that hold the sample, from ``text_columns``.
        columns: All columns of the rows.
    """
    return [name for name in _reader(names, columns, talk=True).reads if name not in names]


def _reader(names: Sequence[str], columns: Sequence[str], *, talk: bool) -> RowReader:
    return RowReader(tuple(names), tuple(columns), where="", chat=True, talk=talk)


def _parts(row: Mapping[str, Any], names: tuple[str, ...], turn: int) -> tuple[str, str]:
    """Prompt and answer of a row, uncut, as it is read for training."""
    if not names:
        return "", ""
    row = {name: _parsed(value) for name, value in row.items()}
    talk = holds_talk(row, names)
    try:
        read = _reader(names, list(row), talk=talk)(row, 0)
    except UsageError:  # shown as it is
        *before, last = ("" if row[name] is None else _plain(row[name]) for name in names)
        return "\n\n".join(before), last
    turns = read.get("messages")
    if turns is None and turn and isinstance(read.get("prompt"), list):
        turns = [*read["prompt"], *read["completion"]]
    if turns is not None:
        answers = [place for place, one in enumerate(turns) if one["role"] == "assistant"]
        place = answers[min(turn, len(answers)) - 1] if answers else len(turns)
        return _talk(turns[:place]), _talk(turns[place : place + 1])
    *before, last = (_talk(value) for value in (read[name] for name in read if name != "tools"))
    return "\n\n".join(before), last


def _parsed(value: Any) -> Any:
    """A conversation whose messages are JSON text, as a column of JSON is stored, as objects."""
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        return value
    try:
        return [parsed(one) for one in value]
    except ValueError:
        return value


def _plain(value: Any) -> str:
    """A value that is no conversation as text."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _talk(value: str | Sequence[Turn]) -> str:
    """A text, or the turns of a conversation, several ones with their speakers."""
    if isinstance(value, str):
        return value
    if len(value) == 1:
        return _said(value[0])
    return "\n\n".join(f"{turn['role']}: {_said(turn)}" for turn in value)


def _said(turn: Turn) -> str:
    """The thoughts of a turn, its text, then the tools that it calls with their arguments."""
    thoughts = [_plain(turn[key]) for key in THOUGHTS if turn.get(key)]
    functions = [call["function"] for call in turn.get("tool_calls", ())]
    calls = [f"{one['name']}({_plain(one['arguments'])})" for one in functions]
    said = [turn["content"]] if turn["content"] else []
    return "\n".join([*(f"(thinks) {one}" for one in thoughts), *said, *calls])


def _printable(text: str) -> str:
    """A text that can be written as UTF-8, without NUL.

    Lone surrogates cannot be encoded, and some readers stop at NUL.
    """
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
