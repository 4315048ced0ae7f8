"""The record of the probe set: a row for each sample and visit, in chunks like the ledger."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa

from .ledger import read_record

PROBE_FOLDER = "probe"


class ProbeRow(NamedTuple):
    """The scores of a probe sample at one step of the run.

    Attributes:
        step: Optimizer steps done, 0 before the first.
        epoch: Epochs of the data done, as a fraction.
        sample_id: The sample's name in the training set.
        ppl: Perplexity of the answer; NaN or inf, from a bad loss, stay as they are.
        entropy: Mean entropy of the answer in nats.
        n_tokens: Number of answer tokens.
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
    """Read the record of a run's probe set, in the order of the steps.

    Args:
        folder: The run's output folder, or the folder ``probe`` in it.

    Returns:
        A table with the columns step, epoch, sample_id, ppl, entropy (nats) and n_tokens; a row
        is one sample at one step.

    Raises:
        UsageError: The folder has no record of a probe set, or the record is damaged.
    """
    return read_record(Path(folder), PROBE_FOLDER, PROBE_SCHEMA)
