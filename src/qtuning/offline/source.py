"""The rows of a data set beside their tokenised form, in order, without holding them all."""

from collections.abc import Iterator
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa
from datasets import Dataset

from ..examples.example import SAMPLE_ID
from ..io.formats import Rows


class Part(NamedTuple):
    """Some consecutive rows.

    Attributes:
        number: Of the part, from 0.
        rows: As they were loaded.
        names: Id of each.
    """

    number: int
    rows: pa.Table
    names: list[str]


def parts(data: Rows, rows_a_part: int, mine: Any) -> Iterator[Part]:
    """The parts of a data set, in order.

    Args:
        data: The rows as loaded.
        rows_a_part: Rows of each but the last.
        mine: A function of a part's number: whether to read it.
    """
    if isinstance(data, Dataset):
        for number, start in enumerate(range(0, len(data), rows_a_part)):
            if mine(number):
                chosen = range(start, min(start + rows_a_part, len(data)))
                table = data.select(chosen).with_format("arrow")[:]
                yield Part(number, table, names_of(table, start))
        return
    schema = None if data.features is None else data.features.arrow_schema
    rows = iter(data)
    number = 0
    while some := list(islice(rows, rows_a_part)):
        if mine(number):
            table = pa.Table.from_pylist(some, schema=schema)
            yield Part(number, table, names_of(table, number * rows_a_part))
        number += 1


def names_of(table: pa.Table, start: int) -> list[str]:
    """The first of these that there is: ``sample_id``, ``id``, the row's number."""
    for column in (SAMPLE_ID, "id"):
        if column in table.column_names:
            values = table[column].to_pylist()
            return [str(start + i if v is None else v) for i, v in enumerate(values)]
    return [str(start + i) for i in range(table.num_rows)]
