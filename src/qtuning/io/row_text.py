"""The text of a row, made safe to print or to put on a page: data are not trusted."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UsageError
from .formats import find_format

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
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    turns = [turn for turn in value if isinstance(turn, Mapping)]
    turns_of_others = [turn for turn in turns if (turn.get("role") or turn.get("from")) != "system"]
    for turn in turns_of_others or turns:
        content = turn.get("content") or turn.get("value")
        if isinstance(content, str):
            return content
    return ""


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


def text_of(row: Mapping[str, Any], names: Sequence[str]) -> Text:
    """A row as prompt and answer, each cut at ``LONGEST`` characters.

    Args:
        row: The row.
        names: The columns that hold the sample, from ``text_columns``.
    """
    prompt, answer = _parts(row, tuple(names))
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


def _parts(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, str]:
    """Prompt and answer of a row, uncut."""
    if not names:
        return "", ""
    if names == ("instruction", "output"):
        extra = row.get("input")
        prompt = f"{row['instruction']}\n\n{extra}" if extra else str(row["instruction"])
        return prompt, str(row["output"])
    if len(names) == 2:
        return _talk(row[names[0]]), _talk(row[names[1]])
    value = row[names[0]]
    if not isinstance(value, list):
        return "", str(value)
    return _talk(value[:-1]), _talk(value[-1:])


def _talk(value: Any) -> str:
    """A text, or the turns of a conversation with their speakers."""
    if not isinstance(value, list):
        return str(value)
    if len(value) == 1:
        return _content(value[0])
    return "\n\n".join(f"{_speaker(turn)}: {_content(turn)}" for turn in value)


def _speaker(turn: Any) -> str:
    if not isinstance(turn, Mapping):
        return "?"
    return str(turn.get("role") or turn.get("from") or "?")


def _content(turn: Any) -> str:
    if not isinstance(turn, Mapping):
        return "" if turn is None else str(turn)
    content = turn.get("content", turn.get("value"))
    return "" if content is None else str(content)


def _printable(text: str) -> str:
    """A text that can be written as UTF-8, without NUL.

    Lone surrogates cannot be encoded, and some readers stop at NUL.
    """
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
