"""The last known scores of the samples, by name: what a step may use instead of a forward pass."""

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
    """A sample's last known scores.

    Attributes:
        ppl: Perplexity.
        entropy: Mean answer entropy in nats.
        n_tokens: Answer tokens it had; with another number now the scores are of another text.
        step: The optimizer step that made them; 0 if they came from outside the run.
        extras: What else the sample pruner reads, see ``CandidateRow``.
    """

    ppl: float
    entropy: float
    n_tokens: int
    step: int
    extras: RowExtras = ()


class ScoreStore:
    """Last known scores; the same on every rank, since all of them see the same rows."""

    def __init__(
        self, known: Mapping[str, Known] | None = None, extras: frozenset[str] = frozenset()
    ) -> None:
        """Start empty, or from scores known already.

        Args:
            known: Those.
            extras: What the sample pruner reads beside perplexity and entropy; who lacks it is
                unknown.
        """
        self._known = dict(known or {})
        self._extras = extras

    def __len__(self) -> int:
        """Number of samples known."""
        return len(self._known)

    def of(self, row: CandidateRow) -> Known | None:
        """The scores of a candidate, None if unknown or of another text."""
        known = self._known.get(row.sample_id)
        if known is None or known.n_tokens != row.n_tokens:
            return None
        return known if self._extras <= dict(known.extras).keys() else None

    def learn(self, rows: Iterable[CandidateRow], step: int) -> None:
        """Take in what a step has scored; a loss that is not finite is not worth knowing."""
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
        """Write all of it to a Parquet file."""
        columns = list(zip(*self._known.values(), strict=True)) or [()] * len(Known._fields)
        arrays = [list(self._known), *map(list, columns)]
        table = pa.table(dict(zip(_SCHEMA.names, arrays, strict=True)), schema=_SCHEMA)
        pq.write_table(table, path)

    def load(self, path: Path) -> None:
        """Take what ``save`` wrote in place of what is known.

        Raises:
            UsageError: The file cannot be read.
        """
        self._known = {
            name: Known(ppl, entropy, n, step, tuple((key, tuple(some)) for key, some in extras))
            for name, ppl, entropy, n, step, extras in rows_of(
                read_parquet(path, schema=_SCHEMA, advice=_ADVICE)
            )
        }


def rows_of(table: pa.Table) -> Iterator[tuple[Any, ...]]:
    """The rows of a table as tuples."""
    return zip(*(column.to_pylist() for column in table.columns), strict=True)
