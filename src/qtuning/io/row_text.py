"""What a row says, fit to be shown: data are never to be trusted with that."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..errors import UsageError
from .formats import find_format

LONGEST = 6000
"""Characters of a prompt or an answer that go into a page."""

_COLUMNS = ("prompt", "messages", "conversations", "instruction", "text")


def first_words(row: Mapping[str, Any], limit: int = 60) -> str | None:
    """The beginning of the prompt of a row, None if it has no text.

    Args:
        row: A row of any format that can be trained on.
        limit: Characters at most.
    """
    for column in _COLUMNS:
        text = _text(row.get(column))
        if text:
            return clean(text, limit)
    return None


def clean(text: str, limit: int) -> str:
    """One line without control characters, cut at a length.

    Whatever could move the cursor, colour a terminal or turn the direction of writing goes:
    control and format characters, unpaired surrogates, and what Unicode has not assigned.
    """
    words = " ".join(text[: 4 * limit].split())
    safe = "".join(
        c if unicodedata.category(c)[0] != "C" else "\N{REPLACEMENT CHARACTER}" for c in words
    )
    return safe if len(safe) <= limit else safe[: limit - 1] + "…"


def _text(value: Any) -> str:
    """A string, or the content of the first turn of a conversation that is not the system's."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    turns = [turn for turn in value if isinstance(turn, Mapping)]
    asked = [turn for turn in turns if (turn.get("role") or turn.get("from")) != "system"]
    for turn in asked or turns:
        content = turn.get("content") or turn.get("value")
        if isinstance(content, str):
            return content
    return ""


class Text(NamedTuple):
    """A row as text; untrusted, as the data it is from.

    Attributes:
        prompt: All before the answer.
        answer: The answer.
        cut: Characters of both, if more than shown here; else 0.
    """

    prompt: str
    answer: str
    cut: int


def text_of(row: Mapping[str, Any], names: Sequence[str]) -> Text:
    """A row as text, cut at ``LONGEST``.

    Args:
        row: The row.
        names: The columns that hold it, of ``text_columns``.
    """
    prompt, answer = _parts(row, tuple(names))
    whole = len(prompt) + len(answer)
    # The end of a prompt is what the answer answers.
    short_prompt = prompt if len(prompt) <= LONGEST else "…" + prompt[-LONGEST:]
    short_answer = answer if len(answer) <= LONGEST else answer[:LONGEST] + "…"
    cut = whole if (short_prompt, short_answer) != (prompt, answer) else 0
    return Text(_printable(short_prompt), _printable(short_answer), cut)


def text_columns(columns: Sequence[str]) -> tuple[str, ...]:
    """The columns that hold a sample as text, none if there are none."""
    try:
        names = find_format(list(columns), "")
    except UsageError:
        return ()
    return () if names == ("input_ids",) else names


def _parts(row: Mapping[str, Any], names: tuple[str, ...]) -> tuple[str, str]:
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
    """Lone surrogates cannot be written as UTF-8, and NUL ends a page for some readers."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\0", "\ufffd")
