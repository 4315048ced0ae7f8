"""The record of the probe set: a row a sample and visit, written as the ledger is."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from .ledger import read_record

PROBE_FOLDER = "probe"


class ProbeRow(NamedTuple):
    """How a probe sample stood at one moment of the run.

    Attributes:
        step: Optimizer steps done, 0 before the first.
        epoch: Epochs of the data done, as a fraction.
        sample_id: The sample's name in the training set.
        ppl: Perplexity of its answer; NaN or inf, from a bad loss, stay as they are.
        entropy: Mean entropy of its answer in nats.
        n_tokens: Its answer tokens.
    """

    step: int
    epoch: float
    sample_id: str
    ppl: float
    entropy: float
    n_tokens: int


_TYPES = ("int64", "double", "string", "double", "double", "int64")
PROBE_SCHEMA = pa.schema(
    pa.field(name, pa.type_for_alias(alias), nullable=False)
    for name, alias in zip(ProbeRow._fields, _TYPES, strict=True)
)


def read_probe(folder: Path | str) -> pa.Table:
    """Read the record of a run's probe set, in order.

    Args:
        folder: The run's output folder, or the folder ``probe`` in it.

    Raises:
        UsageError: There is none, or it is damaged.
    """
    return read_record(Path(folder), PROBE_FOLDER, PROBE_SCHEMA)
