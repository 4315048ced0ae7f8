"""The rows of a run's data, found by the names that training gave them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset
from numpy.typing import NDArray

from ..errors import UsageError
from ..examples.candidate import ENTROPY_ANSWER
from ..examples.example import SAMPLE_ID
from ..examples.packing import ENDING_OF_PIECES, ENDING_OF_TURNS
from ..io.arrow_rows import rows_of
from .origin import Origin, origin_if_any
from .read import named, read_table
from .schema import DECISIONS, OF_RUNS, SCORED, typed_scores
from .source import names_of

_TURN = r"@(?P<turn>[0-9]{1,18})$"
ADDED = ("id", *SCORED, ENTROPY_ANSWER, *DECISIONS, *OF_RUNS)
"""Columns beside a sample's own content: its names, its scores, decisions on it."""


def read_rows_of_run(rows: Path | str | Dataset) -> tuple[pa.Table, Origin | None]:
    """Read the data of a run, or their scores.

    Returns:
        The rows with the ``sample_id`` that training gives: the column ``sample_id``, else ``id``,
        else the row's number; and the origin of their scores, None if they have none.

    Raises:
        UsageError: The rows cannot be read, or scores in them are damaged.
    """
    table = read_table(rows)
    origin = origin_if_any(table.schema, Path(named(rows)))
    if origin is not None:
        table = typed_scores(table, named(rows))
    names = names_of(table, 0)
    if SAMPLE_ID in table.column_names:
        table = table.drop_columns([SAMPLE_ID])
    return table.append_column(SAMPLE_ID, pa.array(names, pa.string())), origin


def places_of(names: pa.Array, rows: pa.Table) -> tuple[pa.Array, list[str]]:
    """Places of samples in the rows of a run's data; those of turns and pieces are their sample's.

    Args:
        names: Names of samples of the run.
        rows: The rows, from ``read_rows_of_run``.

    Returns:
        The place of each; null for those that are not there, and for those whose name several
        rows have that differ. And the sorted names of the latter.

    Raises:
        UsageError: None of the samples is there.
    """
    ids = rows[SAMPLE_ID].combine_chunks()
    for ending in (ENDING_OF_TURNS, ENDING_OF_PIECES):
        whole = pc.replace_substring_regex(names, ending, "")
        names = pc.if_else(pc.is_in(names, ids), names, whole)
    places = pc.index_in(names, value_set=ids)
    if places.null_count == len(places):
        raise UsageError("the rows have none of the samples: give the data that the run was of")
    differing = _differing(names, rows)
    if differing:
        places = pc.if_else(pc.is_in(names, pa.array(differing, pa.string())), None, places)
    return places, differing


def turns_of(names: pa.Array, rows: pa.Table) -> NDArray[np.int64]:
    """Which turn of their rows samples of a run are, counted from 1; 0 for whole samples, ``(M,)``.

    Args:
        names: Names of samples of the run.
        rows: The rows, from ``read_rows_of_run``.
    """
    numbers = pc.struct_field(pc.extract_regex(names, _TURN), "turn").cast(pa.int64())
    is_row = pc.is_in(names, rows[SAMPLE_ID].combine_chunks())
    turns: NDArray[np.int64] = pc.fill_null(pc.if_else(is_row, 0, numbers), 0).to_numpy()
    return turns


def _differing(names: pa.Array, rows: pa.Table) -> list[str]:
    """The names, of those given, that several rows have whose content differs."""
    first: dict[str, int] = {}
    repeated = []
    wanted = set(names.to_pylist())
    ids = rows[SAMPLE_ID].to_pylist()
    for place, name in enumerate(ids):
        if name in wanted and first.setdefault(name, place) != place:
            repeated.append(place)
    again = list(dict.fromkeys(ids[place] for place in repeated))
    data = rows.drop_columns([name for name in ADDED if name in rows.column_names])
    row_of = dict(zip(again, _taken(data, [first[name] for name in again]), strict=True))
    others = zip(repeated, _taken(data, repeated), strict=True)
    return sorted({ids[place] for place, row in others if row != row_of[ids[place]]})


def _taken(rows: pa.Table, places: Sequence[int]) -> Iterator[dict[str, Any]]:
    return rows_of(rows.take(pa.array(places, pa.int64())))
