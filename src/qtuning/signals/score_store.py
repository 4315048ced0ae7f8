"""The last known scores of samples, by id, which a step may use instead of a forward pass."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from ..examples.candidate import CandidateRow, RowExtras, Vector
from ..io.tables import read_parquet

_ADVICE = "it must be a Parquet file of scores"
_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("ppl", pa.float64()),
        ("entropy", pa.float64()),
        ("n_tokens", pa.int64()),
        ("step", pa.int64()),
        ("extras", pa.map_(pa.string(), pa.list_(pa.float64()))),
    ]
)
_EXTRAS = "extras"
_ROWS_AT_ONCE = 4096  # as float64, the extras of all rows would be larger than the store


class Known(NamedTuple):
    """The last known scores of one sample.

    Attributes:
        ppl: Perplexity.
        entropy: Mean answer entropy in nats.
        n_tokens: Number of scored answer tokens; another number in a row means another text.
        step: Optimizer step that scored the sample; 0 for scores from outside the run.
        extras: Further statistics that the sample pruner reads, see ``CandidateRow``.
    """

    ppl: float
    entropy: float
    n_tokens: int
    step: int
    extras: RowExtras = ()


class ScoreStore:
    """Last known scores by name of sample or turn; the same on all ranks, which see the same."""

    def __init__(
        self, known: Mapping[str, Known] | None = None, extras: frozenset[str] = frozenset()
    ) -> None:
        """An empty store, or one that starts with earlier scores.

        Args:
            known: Earlier scores by sample id.
            extras: Names that the sample pruner reads as well as perplexity and entropy; a sample
                without one of these statistics counts as unknown.
        """
        self._known = dict(known or {})
        self._extras = extras

    def __len__(self) -> int:
        """Number of samples with known scores."""
        return len(self._known)

    def of(self, row: CandidateRow) -> Known | None:
        """The scores of a candidate, None if unknown or of another text."""
        scores = self._known.get(row.name)
        if scores is None or scores.n_tokens != row.n_tokens:
            return None
        return scores if self._extras <= dict(scores.extras).keys() else None

    def learn(self, rows: Iterable[CandidateRow], step: int) -> None:
        """Add the scores that a step has made; a sample without finite scores becomes unknown."""
        for row in rows:
            if not row.scored:
                continue
            if math.isfinite(row.ppl) and math.isfinite(row.entropy):
                self._known[row.name] = Known(row.ppl, row.entropy, row.n_tokens, step, row.extras)
            else:
                self._known.pop(row.name, None)

    def save(self, path: Path) -> None:
        """Write the store to a Parquet file."""
        rows = [(name, *known) for name, known in self._known.items()]
        with pq.ParquetWriter(path, _SCHEMA) as writer:
            for start in range(0, len(rows), _ROWS_AT_ONCE):
                writer.write_table(_table(rows[start : start + _ROWS_AT_ONCE]))

    def load(self, path: Path) -> None:
        """Replace the contents of the store by those of a file that ``save`` wrote.

        Raises:
            UsageError: The file cannot be read.
        """
        table = read_parquet(path, schema=_SCHEMA, advice=_ADVICE)
        rows = rows_of(table.drop_columns([_EXTRAS]))
        extras = map(_extras_of, table[_EXTRAS])
        self._known = {
            name: Known(ppl, entropy, n, step, values)
            for (name, ppl, entropy, n, step), values in zip(rows, extras, strict=True)
        }


def _table(rows: list[tuple[Any, ...]]) -> pa.Table:
    """The table of some rows, each an id and the fields of ``Known``."""
    *columns, extras = map(list, zip(*rows, strict=True))
    # pyarrow takes an array of the very type ten times as fast as one of another type.
    columns.append([[(key, np.asarray(values, float)) for key, values in one] for one in extras])
    return pa.table(dict(zip(_SCHEMA.names, columns, strict=True)), schema=_SCHEMA)


def _extras_of(entry: pa.MapScalar) -> RowExtras:
    """The extras of one row, in float32 where that is exact, as most statistics are computed."""
    if not entry.is_valid:
        return ()
    names, lists = entry.values.flatten()
    extras = []
    for name, values in zip(names.to_pylist(), vectors_of(lists), strict=True):
        with np.errstate(over="ignore"):  # of a number that float32 cannot hold
            narrow = values.astype(np.float32)
        is_exact = np.array_equal(narrow, values, equal_nan=True)
        extras.append((name, narrow if is_exact else values))
    return tuple(extras)


def vectors_of(lists: Iterable[pa.ListScalar]) -> Iterator[Vector]:
    """The lists of a column of numbers, each with memory of its own; empty for null."""
    for one in lists:
        values = one.values
        yield np.zeros(0) if values is None else np.array(values.to_numpy(zero_copy_only=False))


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as tuples."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
