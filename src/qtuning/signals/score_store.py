"""The last known scores of samples, by id, which a step may use instead of a forward pass."""

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from ..examples.candidate import CandidateRow, RowExtras
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
    """Last known scores by sample id; the same on every rank, since all ranks see the same rows."""

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
        scores = self._known.get(row.sample_id)
        if scores is None or scores.n_tokens != row.n_tokens:
            return None
        return scores if self._extras <= dict(scores.extras).keys() else None

    def learn(self, rows: Iterable[CandidateRow], step: int) -> None:
        """Add the scores that a step has made; a sample without finite scores becomes unknown."""
        for row in rows:
            if not row.scored:
                continue
            if math.isfinite(row.ppl) and math.isfinite(row.entropy):
                self._known[row.sample_id] = Known(
                    row.ppl, row.entropy, row.n_tokens, step, row.extras
                )
            else:
                self._known.pop(row.sample_id, None)

    def save(self, path: Path) -> None:
        """Write the store to a Parquet file."""
        columns = list(zip(*self._known.values(), strict=True)) or [()] * len(Known._fields)
        arrays = [list(self._known), *map(list, columns)]
        table = pa.table(dict(zip(_SCHEMA.names, arrays, strict=True)), schema=_SCHEMA)
        pq.write_table(table, path)

    def load(self, path: Path) -> None:
        """Replace the contents of the store by those of a file that ``save`` wrote.

        Raises:
            UsageError: The file cannot be read.
        """
        self._known = {
            name: Known(
                ppl, entropy, n, step, tuple((key, tuple(values)) for key, values in extras)
            )
            for name, ppl, entropy, n, step, extras in rows_of(
                read_parquet(path, schema=_SCHEMA, advice=_ADVICE)
            )
        }


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as tuples."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
