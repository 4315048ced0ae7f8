"""Texts of a run's samples, looked up in the data that it was of."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from datasets import Dataset
from numpy.typing import NDArray

from ..errors import UsageError
from ..io.arrow_rows import rows_of
from ..io.row_text import Text, columns_beside, text_columns, text_of
from ..offline.read import named
from ..offline.rows_of_run import places_of, read_rows_of_run, turns_of


@dataclass(frozen=True)
class Texts:
    """The texts of a run's samples.

    Attributes:
        rows: The columns of the data that hold text.
        columns: Names of the columns that hold a sample.
        places: Place of each sample of the run in the rows, ``(M,)`` int; null for none, and where
            several rows of the name differ.
        turns: Which turn of its row each sample is, ``(M,)``; 0 for whole samples.
    """

    rows: pa.Table
    columns: tuple[str, ...]
    places: pa.Array
    turns: NDArray[np.int64]

    @classmethod
    def read(cls, rows: Path | str | Dataset, names: pa.Array) -> "Texts":
        """Read the data of a run.

        Args:
            rows: The data, or their scores, by ``sample_id`` or ``id``.
            names: Name of each sample of the run, ``(M,)``.

        Raises:
            UsageError: The rows cannot be read, have none of the samples, or have no text.
        """
        table, _ = read_rows_of_run(rows)
        columns = text_columns(table.column_names)
        if not columns:
            raise UsageError(
                f"{named(rows)}: no column of a known format has text; name the data as they were "
                "before they were tokenised"
            )
        with_text = [*columns, *columns_beside(columns, table.column_names)]
        places, _ = places_of(names, table)
        return cls(table.select(with_text), columns, places, turns_of(names, table))

    def of(self, samples: NDArray[np.int64]) -> list[Text | None]:
        """The texts of some samples, by their indices; None where there is none."""
        places = self.places.take(pa.array(samples)).to_pylist()
        turns = self.turns[samples].tolist()
        return [self._of(place, turn) for place, turn in zip(places, turns, strict=True)]

    def _of(self, place: int | None, turn: int) -> Text | None:
        if place is None:
            return None
        (row,) = rows_of(self.rows.slice(place, 1))
        if all(row[name] is None for name in self.columns):
            return None
        return text_of(row, self.columns, turn)
