"""NLL of answer tokens under a reference model: each sample is scored once and remembered."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..io.tables import read_parquet
from .score_store import rows_of

_SCHEMA = pa.schema([("sample_id", pa.string()), ("nll", pa.list_(pa.float32()))])


class ReferenceStore:
    """NLL of the answer tokens of samples, by name; the same on every rank."""

    def __init__(self) -> None:
        """Start empty."""
        self._known: dict[str, Tensor] = {}

    def __len__(self) -> int:
        """Number of samples known."""
        return len(self._known)

    def of(self, name: str, n_tokens: int) -> Tensor | None:
        """NLL of a sample's answer tokens, ``(T,)``; None if unknown or of another text."""
        known = self._known.get(name)
        return known if known is not None and len(known) == n_tokens else None

    def learn(self, scored: Sequence[tuple[str, Tensor]]) -> None:
        """Take in what all ranks have scored."""
        self._known.update(scored)

    def save(self, path: Path) -> None:
        """Write all of it to a Parquet file."""
        values = [list(self._known), [nll.tolist() for nll in self._known.values()]]
        pq.write_table(
            pa.table(dict(zip(_SCHEMA.names, values, strict=True)), schema=_SCHEMA), path
        )

    def load(self, path: Path) -> None:
        """Take what ``save`` wrote in place of what is known.

        Raises:
            UsageError: The file cannot be read.
        """
        rows = rows_of(read_parquet(path, schema=_SCHEMA, advice="resume from another checkpoint"))
        self._known = {name: torch.tensor(nll, dtype=torch.float32) for name, nll in rows}
