"""The rows of a run's data, found by the names that training gave them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..errors import UsageError
from ..examples.example import SAMPLE_ID
from .origin import Origin, origin_if_any
from .read import named, read_table
from .schema import typed_scores
from .source import names_of


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


def places_of(names: pa.Array, rows: pa.Table) -> pa.Array:
    """Places of samples in the rows of a run's data; null for those that are not there.

    Args:
        names: Names of samples of the run.
        rows: The rows, from ``read_rows_of_run``.

    Raises:
        UsageError: None of the samples is there.
    """
    places = pc.index_in(names, value_set=rows[SAMPLE_ID].combine_chunks())
    if places.null_count == len(places):
        raise UsageError("the rows have none of the samples: give the data that the run was of")
    return places
