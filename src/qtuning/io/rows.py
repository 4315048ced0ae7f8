"""One row of training data, in whatever format, as TRL reads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .turns import (
    is_talk,
    kind_of,
    messages_in,
    one_system,
    parsed,
    read_tools,
    read_turns,
    refused,
)
from .weights import LOSS_WEIGHT, MESSAGE_WEIGHTS, row_weight, weights_of_messages

Row: TypeAlias = dict[str, Any]

TALKS = ("messages", "conversations")
PAIR = ("prompt", "completion")
ALPACA = ("instruction", "output")
_WITH: dict[tuple[str, ...], tuple[str, ...]] = {
    ("messages",): ("system", "tools"),
    ("conversations",): ("system", "tools"),
    PAIR: ("system", "tools"),
    ALPACA: ("input", "system", "history"),
}


def columns_with(names: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that are read beside those of a format, where they are there."""
    return (*_WITH.get(names, ()), LOSS_WEIGHT)


def holds_talk(row: Mapping[str, Any], names: tuple[str, ...]) -> bool:
    """Whether the columns of a format hold conversations rather than text.

    Args:
        row: A row.
        names: The columns, see ``formats.find_format``.
    """
    if names != PAIR:
        return names[0] in TALKS
    return isinstance(row[names[0]], list) or all(is_talk(row.get(name)) for name in names)


@dataclass(frozen=True)
class RowReader:
    """Reads rows of one data set.

    Attributes:
        names: The columns of the format, see ``formats.find_format``.
        columns: All columns of the data.
        where: Name of the data in messages.
        chat: Whether Alpaca rows become conversations.
        talk: Whether the columns hold conversations rather than text, see ``holds_talk``.
        assistant: Whether every conversation must have a turn of the assistant.
        calls: Whether the chat template prints calls of tools.
        lost: Keys of messages that the chat template does not print.
        filled: Names of columns whose objects Arrow may have filled up with nulls.
        tools_as_text: Whether TRL reads tools as JSON text, which says what a row has.
    """

    names: tuple[str, ...]
    columns: tuple[str, ...]
    where: str
    chat: bool
    talk: bool
    assistant: bool = False
    calls: bool = True
    lost: frozenset[str] = frozenset()
    filled: frozenset[str] = frozenset()
    tools_as_text: bool = True

    @property
    def reads(self) -> list[str]:
        """The columns that are read."""
        more = [name for name in columns_with(self.names) if name in self.columns]
        return [*self.names, *more]

    def __call__(self, row: Mapping[str, Any], index: int) -> Row:
        """What the columns that are read become; with ``MESSAGE_WEIGHTS`` if these are not all 1.

        Args:
            row: The row.
            index: Its number, from 0.

        Raises:
            UsageError: The row cannot be trained on.
        """
        if self.names == ALPACA:
            return self._alpaca(row, index) | self._weight(row, index)
        if not self.talk:
            for name in ("system", "tools"):
                if row.get(name) and name in self.reads:
                    raise refused(
                        self.where, index, name, "is not read beside a prompt that is plain text"
                    )
            texts = {name: self._text(row, name, index) for name in self.names}
            return texts | self._weight(row, index)
        read: Row = {}
        for name in self.names:
            read["messages" if name in TALKS else name] = self._of(
                name,
                index,
                read_turns,
                row.get(name),
                filled=name in self.filled,
                calls=self.calls,
                lost=self.lost,
            )
        first = next(iter(read))
        read[first] = self._of("system", index, one_system, read[first], row.get("system"))
        turns = [turn for value in read.values() for turn in value]
        if self.assistant and not any(turn["role"] == "assistant" for turn in turns):
            why = "has no assistant turn, and assistant_only_loss trains on nothing else"
            raise refused(self.where, index, self.names[0], why)
        if "tools" in self.reads:
            tools = self._of(
                "tools", index, read_tools, row.get("tools"), filled="tools" in self.filled
            )
            read["tools"] = tools or None
            if tools and self.tools_as_text:
                read["tools"] = json.dumps(tools, ensure_ascii=False)
        return read | self._weights(row, index, added=len(turns) - self._count(row))

    def _weight(self, row: Mapping[str, Any], index: int) -> Row:
        """The weight of a row, as ``MESSAGE_WEIGHTS``; nothing for 1."""
        weight = self._of(LOSS_WEIGHT, index, row_weight, row)
        return {} if weight == 1.0 else {MESSAGE_WEIGHTS: [weight]}

    def _weights(self, row: Mapping[str, Any], index: int, added: int) -> Row:
        """The weights of the messages of a row, the first ``added`` of which no message says."""
        weight = self._of(LOSS_WEIGHT, index, row_weight, row)
        said: Any = [one for name in self.names for one in _messages(row, name)]
        weights = self._of(self.names[0], index, weights_of_messages, row, said)
        if weights is None:
            return {}
        weights = [weight] * added + weights
        return {MESSAGE_WEIGHTS: weights[:1] if len(set(weights)) == 1 else weights}

    def _count(self, row: Mapping[str, Any]) -> int:
        """Number of the messages in a row."""
        return sum(len(_messages(row, name)) for name in self.names)

    def _of(self, column: str, index: int, read: Any, *args: Any, **kwargs: Any) -> Any:
        """What ``read`` makes of a column.

        Raises:
            UsageError: It cannot; the message names the row.
        """
        try:
            return read(*args, **kwargs)
        except ValueError as error:
            raise refused(self.where, index, column, error) from error

    def _text(self, row: Mapping[str, Any], name: str, index: int) -> str:
        text = row.get(name)
        if not isinstance(text, str):
            raise refused(self.where, index, name, f"is {kind_of(text)}, not text")
        return text

    def _alpaca(self, row: Mapping[str, Any], index: int) -> Row:
        """Prompt and completion of an Alpaca row."""
        more = {
            name: "" if row.get(name) is None else self._text(row, name, index)
            for name in ("input", "system")
        }
        prompt = self._text(row, "instruction", index)
        if more["input"]:
            prompt = f"{prompt}\n\n{more['input']}"
        history = self._history(row.get("history"), index)
        answer = self._text(row, "output", index)
        if not self.chat:
            earlier = [text for pair in history for text in pair]
            texts = [*([more["system"]] if more["system"] else []), *earlier, prompt]
            return {"prompt": "".join(f"{text}\n\n" for text in texts), "completion": answer}
        turns = [
            {"role": role, "content": text}
            for pair in history
            for role, text in zip(("user", "assistant"), pair, strict=True)
        ]
        turns.append({"role": "user", "content": prompt})
        return {
            "prompt": one_system(turns, more["system"]),
            "completion": [{"role": "assistant", "content": answer}],
        }

    def _history(self, value: object, index: int) -> list[tuple[str, str]]:
        """Earlier questions and answers of an Alpaca row."""
        if isinstance(value, str) and value:  # a cell of CSV
            value = self._of("history", index, parsed, value)
        pairs = value or []
        if not isinstance(pairs, list):
            raise refused(self.where, index, "history", f"is {kind_of(value)}, not a list of pairs")
        for pair in pairs:
            if (
                not isinstance(pair, list)
                or len(pair) != 2
                or not all(isinstance(text, str) for text in pair)
            ):
                raise refused(self.where, index, "history", "has an entry that is no pair of texts")
        return [(pair[0], pair[1]) for pair in pairs]


def _messages(row: Mapping[str, Any], name: str) -> list[Any]:
    """The messages of a column that ``read_turns`` has read."""
    messages: Any = messages_in(row[name])
    return list(messages)
