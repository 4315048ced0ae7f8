"""Statistics of answer tokens under a reference model: a sample is scored once and remembered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..examples.candidate import Vector
from ..io.tables import check_parquet, read_parquet
from .score_store import vectors_of

NLL = "nll"
TAIL = "tail_mass"
_NAMES = pa.field("sample_id", pa.string())
_VALUES = pa.list_(pa.float32())
_ADVICE = "resume from another checkpoint"


class ReferenceStore:
    """Statistics under the reference model, by sample id; the same on every rank.

    These are the NLL of answer tokens, and their tail mass where it is read (``NLL``, ``TAIL``).
    """

    def __init__(self) -> None:
        """An empty store."""
        self._values: dict[str, dict[str, Vector]] = {NLL: {}}

    def __len__(self) -> int:
        """Number of samples with a known NLL."""
        return len(self._values[NLL])

    def of(self, name: str, n_tokens: int, what: str = NLL) -> Tensor | None:
        """A statistic of a sample's answer tokens, ``(T,)``; None if unknown or of another text."""
        values = self._values.get(what, {}).get(name)
        return torch.from_numpy(values) if values is not None and len(values) == n_tokens else None

    def learn(self, scored: Sequence[tuple[str, Vector]], what: str = NLL) -> None:
        """Add a statistic that all ranks have computed, ``(T,)`` float32, by sample id."""
        self._values.setdefault(what, {}).update(scored)

    def save(self, path: Path) -> None:
        """Write the store to a Parquet file; a statistic that no sample has is no column of it."""
        names = list(self._values[NLL])
        columns = {
            what: [values.get(name) for name in names]
            for what, values in self._values.items()
            if values or what == NLL
        }
        schema = pa.schema([_NAMES, *((what, _VALUES) for what in columns)])
        pq.write_table(pa.table({_NAMES.name: names, **columns}, schema=schema), path)

    def load(self, path: Path) -> None:
        """Replace the contents of the store by those of a file that ``save`` wrote.

        Raises:
            UsageError: The file cannot be read.
        """
        columns = [NLL, *({TAIL} & set(check_parquet(path, _ADVICE).names))]
        schema = pa.schema([_NAMES, *((what, _VALUES) for what in columns)])
        table = read_parquet(path, schema=schema, advice=_ADVICE)
        self._values = {}
        for what in columns:
            known = table.filter(table[what].is_valid())
            values = (one.astype(np.float32, copy=False) for one in vectors_of(known[what]))
            self._values[what] = dict(zip(known["sample_id"].to_pylist(), values, strict=True))
