"""Samples of a report that are turns of conversations: their numbers, kinds and tokens."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ..examples.turns import KINDS
from ..explanation.kinds import words_of_kind
from ..offline.rows_of_run import turns_of
from ..offline.schema import TURN_SCORES
from .columns import Column
from .material import Material


def numbers_of_turns(names: Sequence[str], material: Material) -> NDArray[np.int64]:
    """Return which turn of its row each sample is, counted from 1; 0 for whole samples, ``(M,)``.

    Args:
        names: Name of each sample.
        material: What the report is of, and the rows that have its texts.
    """
    if material.rows is None or not _is_by_turn(material):
        return np.zeros(len(names), dtype=np.int64)
    return turns_of(pa.array(names, pa.string()), material.rows)


def kinds_of_turns(material: Material, first: NDArray[np.intp]) -> list[Column]:
    """Return the kind of each sample as a column of classes; none where samples were pruned.

    Args:
        material: What the report is of.
        first: A row of each sample in its table, ``(M,)``.
    """
    if not _is_by_turn(material):
        return []
    codes = [KINDS.index(kind) for kind in material.table["kind"].take(pa.array(first)).to_pylist()]
    return [
        Column("kind of turn", np.array(codes, dtype=np.uint8), list(map(words_of_kind, KINDS)))
    ]


def _is_by_turn(material: Material) -> bool:
    """Return whether a report is of a run that pruned turns; users' rows may have such columns."""
    return material.by_id and {"turn", "kind"} <= set(material.table.column_names)


def part_of_turn(row: Mapping[str, Any], turn: int) -> slice | None:
    """Return which of a row's answer tokens are a turn's; None if it is not known.

    Args:
        row: A scored row.
        turn: Number of the turn; 0 for the whole row.
    """
    if not turn:
        return slice(None)
    start = 0
    for one in row.get(TURN_SCORES) or ():
        if one["turn"] == turn:
            return slice(start, start + one["n_tokens"])
        start += one["n_tokens"]
    return None
