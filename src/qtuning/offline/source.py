"""The rows of a data set in parts, in order, without holding all of them in memory."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
from datasets import Dataset

from ..examples.example import SAMPLE_ID
from ..examples.names import row_names
from ..io.arrow_rows import table_of
from ..io.formats import Rows


class Part(NamedTuple):
    """Consecutive rows of a data set.

    Attributes:
        number: Number of the part, from 0.
        rows: The rows as loaded.
        names: Sample id of each row.
    """

    number: int
    rows: pa.Table
    names: list[str]


def parts(data: Rows, rows_a_part: int, mine: Any) -> Iterator[Part]:
    """The parts of a data set, in order.

    Args:
        data: The rows as loaded.
        rows_a_part: Number of rows of each part but the last.
        mine: A function of a part's number: whether to read the part.

    Raises:
        UsageError: The rows of a stream mix types in a column.
    """
    if isinstance(data, Dataset):
        for number, start in enumerate(range(0, len(data), rows_a_part)):
            if mine(number):
                numbers = range(start, min(start + rows_a_part, len(data)))
                table = data.select(numbers).with_format("arrow")[:]
                yield Part(number, table, names_of(table, start))
        return
    schema = None if data.features is None else data.features.arrow_schema
    rows = iter(data)
    number = 0
    while batch := list(islice(rows, rows_a_part)):
        if mine(number):
            table = table_of(batch, schema)
            yield Part(number, table, names_of(table, number * rows_a_part))
        number += 1


def names_of(table: pa.Table, start: int) -> list[str]:
    """Sample ids of the rows, as a run has them.

    Args:
        table: The rows.
        start: Row number of the first row.
    """
    ids = {
        column: table[column].to_pylist()
        for column in (SAMPLE_ID, "id")
        if column in table.column_names
    }
    return row_names(ids, range(start, start + table.num_rows))
