"""The text of each row: who said what, and where the answer begins."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..core.stats import IGNORE_INDEX
from ..examples.templates import messages_of
from ..io.arrow_rows import rows_of

_COLUMNS = ("messages", "prompt", "completion", "tools", "chat_template_kwargs")
_TOKENS = ("input_ids", "labels")


class Said(NamedTuple):
    """What a row says.

    Attributes:
        turns: Speaker and text of each turn; a text that is no conversation is a turn of its own.
        n_prompt: How many of the turns come before the answer: that of the assistant's last turn,
            or the completion.
    """

    turns: Sequence[tuple[str, str]]
    n_prompt: int

    @property
    def prompt(self) -> str:
        """The text before the answer."""
        return "\n".join(text for _, text in self.turns[: self.n_prompt])

    @property
    def answer(self) -> str:
        """The answer, and what follows it."""
        return "\n".join(text for _, text in self.turns[self.n_prompt :])

    @property
    def text(self) -> str:
        """All of it."""
        return "\n".join(text for _, text in self.turns)


def texts_of(
    rows: Dataset, text_field: str, tokenizer: PreTrainedTokenizerBase
) -> Iterator[tuple[dict[str, Any], Said]]:
    """Each row with what it says.

    Args:
        rows: Rows in columns that TRL reads.
        text_field: TRL's ``dataset_text_field``.
        tokenizer: Decodes rows that are tokens already.
    """
    known = (*_COLUMNS, text_field) if has_text(rows) else _TOKENS
    names = [name for name in known if name in rows.column_names]
    arrow = rows.with_format("arrow").select_columns(names)
    for first in range(0, len(rows), 1000):
        for row in rows_of(arrow[first : first + 1000]):
            yield row, _said(row, text_field, tokenizer)


def is_talk(rows: Dataset) -> bool:
    """Whether rows are conversations."""
    return len(rows) > 0 and messages_of(rows[0]) is not None


def has_text(rows: Dataset) -> bool:
    """Whether rows are text, and not tokens already."""
    return "input_ids" not in rows.column_names


def _said(row: Mapping[str, Any], text_field: str, tokenizer: PreTrainedTokenizerBase) -> Said:
    if "input_ids" in row:
        return _decoded(row, tokenizer)
    messages = messages_of(row)
    if messages is not None:
        turns = [(str(turn.get("role")), _text_of(turn)) for turn in messages]
        if isinstance(row.get("prompt"), list):
            return Said(turns, len(row["prompt"]))
        answers = [place for place, (role, _) in enumerate(turns) if role == "assistant"]
        return Said(turns, answers[-1] if answers else len(turns))
    if "prompt" in row:
        return Said((("prompt", row["prompt"]), ("completion", row["completion"])), 1)
    return Said((("text", row[text_field]),), 0)


def _text_of(turn: Mapping[str, Any]) -> str:
    """The text of a turn, and the tools that it calls."""
    calls = turn.get("tool_calls")
    texts = [str(turn.get("content") or ""), *([json.dumps(calls)] if calls else [])]
    return "\n".join(text for text in texts if text)


def _decoded(row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase) -> Said:
    """What the tokens of a row say, split where the first label is."""
    ids = row["input_ids"]
    labels = row.get("labels") or ids
    first = next((i for i, label in enumerate(labels) if label != IGNORE_INDEX), len(ids))
    if first == 0:
        return Said((("text", _decode(ids, tokenizer)),), 0)
    return Said(
        (("prompt", _decode(ids[:first], tokenizer)), ("answer", _decode(ids[first:], tokenizer))),
        1,
    )


def _decode(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase) -> str:
    return str(tokenizer.decode(ids, skip_special_tokens=True))
