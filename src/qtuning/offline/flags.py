"""Flags on messages that were dropped, in the keys that trainers read."""

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from ..errors import UsageError
from ..io.arrow_rows import rows_of
from ..io.formats import find_format
from ..io.rows import PAIR, TALKS, Row
from ..io.turns import ROLES, messages_in
from .file_formats import OF_TRAINERS
from .schema import TURN_DECISIONS

logger = logging.getLogger(__name__)

_MASKING = f"{', '.join(OF_TRAINERS[:-1])} or {OF_TRAINERS[-1]}"
"""The formats of trainers, in words: labels of dropped turns are masked there."""
FLAGS = {"weight": 0, "train": False, "loss": False}
"""Keys of a dropped message: OpenAI's, that of Axolotl's ``message_field_training: train``, and
ms-swift's. This library reads each of them."""


def flagged_rows(table: pa.Table, text_field: str) -> Iterator[tuple[Row, bool]]:
    """The rows of a table whose messages are flagged where their turn was dropped.

    Args:
        table: The rows, with ``TURN_DECISIONS`` if turns were decided on.
        text_field: TRL's ``dataset_text_field`` of the scores.

    Yields:
        Each row, and whether turns of it were dropped that no flag tells, since it has no messages.
    """
    if TURN_DECISIONS not in table.column_names:
        yield from ((row, False) for row in rows_of(table))
        return
    names = find_format(table.column_names, "the scored rows", text_field)
    for row in rows_of(table):
        dropped = dropped_in(row)
        talks = {name: messages_in(row[name]) for name in names} if dropped else {}
        is_talk = names == PAIR or names[0] in TALKS
        if is_talk and all(isinstance(one, list) for one in talks.values()):
            flagged = _flagged(talks, dropped)
            texts = {name for name in names if isinstance(row[name], str)}
            written = {
                name: json.dumps(one, ensure_ascii=False) if name in texts else one
                for name, one in flagged.items()
            }
            yield row | written, False
        else:
            yield row, bool(dropped)


def all_flagged(table: pa.Table, text_field: str) -> Iterator[Row]:
    """The rows of a table with flags on messages that were dropped; arguments as above.

    Raises:
        UsageError: A row has dropped turns and no messages.
    """
    for index, (row, is_lost) in enumerate(flagged_rows(table, text_field)):
        if is_lost:
            raise UsageError(
                f"--format jsonl: row {index + 1} has turns that were dropped, and no messages "
                f"that could say so: use {_MASKING}, whose labels are masked, or parquet"
            )
        yield row


def warn_of_turns(rows: pa.Table, to: str) -> None:
    """Say that a format has messages as they were, also those of turns that were dropped.

    Args:
        rows: The kept rows.
        to: The format.
    """
    if TURN_DECISIONS not in rows.column_names:
        return
    n = sum(map(bool, map(dropped_in, rows.select([TURN_DECISIONS]).to_pylist())))
    if n:
        logger.warning(
            f"{n:,} of {len(rows):,} kept rows have turns that were dropped, which only "
            f"{TURN_DECISIONS} tells in the format {to}: to train on them, write jsonl, whose "
            f"messages are flagged, or {_MASKING}"
        )


def dropped_in(row: Mapping[str, Any]) -> set[int]:
    """Numbers of the turns that were dropped of a row of which others were kept."""
    decisions: Sequence[Mapping[str, Any]] = row.get(TURN_DECISIONS) or ()
    dropped = {one["turn"] for one in decisions if not one["kept"]}
    return dropped if len(dropped) < len(decisions) else set()


def _flagged(talks: Mapping[str, Any], dropped: set[int]) -> dict[str, list[Any]]:
    """Conversations with flags on the n-th messages of the assistant; together they are one.

    Args:
        talks: The messages in any spelling, by the column.
        dropped: The numbers n, counted from 1.
    """
    flagged: dict[str, list[Any]] = {}
    number = 0
    for name, messages in talks.items():
        flagged[name] = []
        for message in messages:
            speaker = str(message.get("role") or message.get("from")).strip().lower()
            is_own = ROLES.get(speaker) == "assistant"
            number += is_own
            flags = FLAGS if is_own and number in dropped else {}
            flagged[name].append({**message, **flags})
    return flagged
