"""A mark of the training data, so that a run is not resumed with other data by mistake."""

import json
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from datasets import Dataset

from ..examples.example import SAMPLE_ID

_ROWS = 10_000
_TEXTS = ("messages", "prompt", "completion")
"""Columns of rows with images, which are not tokenised before training."""


def data_mark(rows: Any) -> str | None:
    """A mark that data of the same names and tokens share, in the same order.

    Of rows with images the mark is of their texts; the pictures are not read.

    Args:
        rows: The training data, tokenised but for rows with images.

    Returns:
        16 hexadecimal digits; None for a stream, or data that are no ``datasets.Dataset``.
    """
    if not isinstance(rows, Dataset):
        return None
    content = ("input_ids",) if "input_ids" in rows.column_names else _TEXTS
    names = [name for name in (SAMPLE_ID, *content) if name in rows.column_names]
    digest = blake2b(digest_size=8)
    for batch in rows.select_columns(names).with_format("arrow").iter(_ROWS):
        if SAMPLE_ID in names:
            digest.update("\n".join(map(str, batch[SAMPLE_ID].to_pylist())).encode())
        if "input_ids" in names:
            lengths = pc.list_value_length(batch["input_ids"]).cast(pa.int64())
            tokens = pc.list_flatten(batch["input_ids"]).cast(pa.int64())
            for numbers in (lengths, tokens):
                digest.update(numbers.to_numpy().tobytes())
        for name in _TEXTS:
            if name in names:
                digest.update(json.dumps(batch[name].to_pylist(), default=str).encode())
    return digest.hexdigest()
