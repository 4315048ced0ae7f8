"""NLL of answer tokens under a reference model: each sample is scored once and remembered."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from torch import Tensor

from ..examples.candidate import Vector
from ..io.tables import read_parquet
from .score_store import vectors_of

_SCHEMA = pa.schema([("sample_id", pa.string()), ("nll", pa.list_(pa.float32()))])


class ReferenceStore:
    """NLL of answer tokens under the reference model, by sample id; the same on every rank."""

    def __init__(self) -> None:
        """An empty store."""
        self._nlls: dict[str, Vector] = {}

    def __len__(self) -> int:
        """Number of samples with a known NLL."""
        return len(self._nlls)

    def of(self, name: str, n_tokens: int) -> Tensor | None:
        """NLL of a sample's answer tokens, ``(T,)``; None if unknown or of another text."""
        nll = self._nlls.get(name)
        return torch.from_numpy(nll) if nll is not None and len(nll) == n_tokens else None

    def learn(self, scored: Sequence[tuple[str, Vector]]) -> None:
        """Add the NLLs that all ranks have computed, ``(T,)`` float32, by sample id."""
        self._nlls.update(scored)

    def save(self, path: Path) -> None:
        """Write the store to a Parquet file."""
        values = [list(self._nlls), list(self._nlls.values())]
        pq.write_table(
            pa.table(dict(zip(_SCHEMA.names, values, strict=True)), schema=_SCHEMA), path
        )

    def load(self, path: Path) -> None:
        """Replace the contents of the store by those of a file that ``save`` wrote.

        Raises:
            UsageError: The file cannot be read.
        """
        table = read_parquet(path, schema=_SCHEMA, advice="resume from another checkpoint")
        nlls = (nll.astype(np.float32, copy=False) for nll in vectors_of(table["nll"]))
        self._nlls = dict(zip(table["sample_id"].to_pylist(), nlls, strict=True))
