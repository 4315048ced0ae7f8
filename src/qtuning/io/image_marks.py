"""Rows with images in the formats of other trainers: ``<image>`` in the text is where one is.

LLaVA's data, LLaMA-Factory and ms-swift write them so. TRL takes parts of a message in its place.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset

from .rows import ALPACA, RowReader
from .turns import refused
from .weights import LOSS_WEIGHT, MESSAGE_WEIGHTS

MARK = "<image>"
FORMATS = (("conversations",), ALPACA)
"""Formats of text, beside those of TRL, that rows with images may have."""


def as_turns(data: Dataset, where: str) -> Dataset:
    """Rows whose text is in one of ``FORMATS``, in columns that TRL reads; others stay.

    Raises:
        UsageError: A row cannot be read.
    """
    columns = data.column_names
    names = next((one for one in FORMATS if set(one) <= set(columns)), None)
    if names is None and "messages" in columns and _is_foreign(data.select_columns("messages")):
        names = ("messages",)
    if names is None:
        return data
    reader = RowReader(names, tuple(columns), where, chat=True, talk=names != ALPACA)
    read = [name for name in reader.reads if name != LOSS_WEIGHT]
    return data.map(_turns, with_indices=True, fn_kwargs={"reader": reader}, remove_columns=read)


def _is_foreign(data: Dataset) -> bool:
    """Whether the first turn of conversations says who speaks in another key than TRL reads."""
    first: Any = data[0]["messages"] if len(data) else None
    return bool(first) and isinstance(first[0], dict) and "role" not in first[0]


def _turns(row: Mapping[str, Any], index: int, *, reader: RowReader) -> dict[str, Any]:
    """What a row becomes; its own weight stays in its column.

    Raises:
        UsageError: The row cannot be read, or its messages have weights.
    """
    read = reader(row, index)
    if len(read.pop(MESSAGE_WEIGHTS, ())) > 1:
        why = "has weights of messages, which are not read beside images: use loss_weight of rows"
        raise refused(reader.where, index, reader.names[0], why)
    return read


def with_parts(data: Dataset, texts: Sequence[str], pictures: str) -> Dataset:
    """Rows in which parts of type image stand where the texts have marks.

    If no text has a mark, or the contents are in parts already, the rows stay. Marks in answers are
    text. In a row without marks the images go before the first words of the user, as TRL has it.

    Args:
        data: Rows with conversations in the columns ``texts``.
        texts: The columns of text, in order.
        pictures: The column of pictures.
    """
    if not any(_is_marked(row[name]) for row in data.select_columns(texts) for name in texts):
        return data
    counts: list[int] = []
    for batch in data.select_columns([pictures]).with_format("arrow").iter(1000):
        column = batch[pictures]
        is_list = column.type.num_fields == 1
        n = pc.list_value_length(column) if is_list else pc.is_valid(column).cast("int64")
        counts += pc.fill_null(n, 0).to_pylist()
    return data.map(
        _in_parts, with_indices=True, fn_kwargs={"texts": list(texts), "counts": counts}
    )


def _is_marked(turns: Any) -> bool:
    """Whether a turn that is not the assistant's has a mark in its text."""
    return isinstance(turns, list) and any(
        isinstance(turn.get("content"), str) and MARK in turn["content"]
        for turn in turns
        if turn["role"] != "assistant"
    )


def _in_parts(
    row: Mapping[str, Any], index: int, *, texts: Sequence[str], counts: Sequence[int]
) -> dict[str, Any]:
    """The columns of text of a row, their contents in parts."""
    left = 0 if any(_is_marked(row[name]) for name in texts) else counts[index]
    made: dict[str, Any] = {}
    for name in texts:
        turns = []
        for turn in row[name]:
            parts = _parts(turn)
            if turn["role"] == "user":
                parts, left = [_IMAGE] * left + parts, 0
            turns.append({**turn, "content": parts})
        made[name] = turns
    return made


_IMAGE: dict[str, Any] = {"type": "image", "text": None}


def _parts(turn: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The content of a turn in parts; marks are images but in answers."""
    content = turn["content"] or ""
    if turn["role"] == "assistant":
        return [{"type": "text", "text": content}]
    first, *rest = content.split(MARK)
    parts: list[dict[str, Any]] = [{"type": "text", "text": first}]
    for text in rest:
        parts += [_IMAGE, {"type": "text", "text": text}]
    return [part for part in parts if part["type"] == "image" or part["text"]]


def in_text(turns: Any, n_images: int) -> Any:
    """Turns whose contents are text, with a mark for each image.

    Args:
        turns: Turns with contents of text or in parts.
        n_images: Images that go before the first words of the user if no part is an image.
    """
    contents = [turn["content"] for turn in turns if isinstance(turn["content"], list)]
    in_place = any(part["type"] == "image" for content in contents for part in content)
    left, made = 0 if in_place else n_images, []
    for turn in turns:
        content = turn["content"] or ""
        if isinstance(content, list):
            content = "".join(
                MARK if part["type"] == "image" else part["text"] or "" for part in content
            )
        if turn["role"] == "user":
            content, left = MARK * left + content, 0
        made.append({**turn, "content": content})
    return made
