"""Columns of the user's data that a plane can be coloured by."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

_MOST_COLUMNS, _MOST_NAMES, _LONGEST_NAME = 12, 8, 40
_OTHER, _MISSING = "(other)", "(none)"


@dataclass(frozen=True)
class Column:
    """A value for each sample.

    Attributes:
        name: Name in the page.
        values: ``(N,)``: numbers, NaN where there is none; or indices into ``names``.
        names: Names of the classes; None for numbers.
    """

    name: str
    values: NDArray[Any]
    names: Sequence[str] | None = None


def columns_of(rows: pa.Table, skip: Sequence[str]) -> list[Column]:
    """Return the columns that hold numbers or few different values, also those inside structs.

    Args:
        rows: One row for each sample.
        skip: Names of columns to leave out: texts, and columns that qtuning has added.

    Returns:
        At most 12 columns, in the order of the data.
    """
    flat: dict[str, pa.ChunkedArray] = {}
    for name in rows.column_names:
        if name not in skip:
            _flatten(name, rows[name], flat)
    columns = [
        column for name, values in flat.items() if (column := _column(name, values)) is not None
    ]
    return columns[:_MOST_COLUMNS]


def _flatten(name: str, values: pa.ChunkedArray, into: dict[str, pa.ChunkedArray]) -> None:
    if not pa.types.is_struct(values.type):
        into[name] = values
        return
    for field in values.type:
        _flatten(f"{name}.{field.name}", pc.struct_field(values, field.name), into)


def _column(name: str, values: pa.ChunkedArray) -> Column | None:
    kind = values.type
    if pa.types.is_boolean(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _classes(name, values.to_pylist())
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        numbers = pc.fill_null(values.cast(pa.float64(), safe=False), float("nan")).to_numpy()
        if len(np.unique(numbers[np.isfinite(numbers)])) > 1:
            return Column(name, numbers.astype(np.float32))
    return None


def _classes(name: str, values: Sequence[Any]) -> Column | None:
    texts = [_MISSING if value is None else str(value)[:_LONGEST_NAME] for value in values]
    counts = Counter(texts)
    # Values that differ in nearly every row are texts or names, not classes.
    if len(counts) < 2 or len(counts) > max(2, len(texts) // 4, _MOST_NAMES):
        return None
    names = [text for text, _ in counts.most_common(_MOST_NAMES)]
    if len(counts) > _MOST_NAMES:
        names[-1] = _OTHER
    place: Mapping[str, int] = {text: i for i, text in enumerate(names)}
    codes = [place.get(text, len(names) - 1) for text in texts]
    return Column(name, np.array(codes, dtype=np.uint8), names)
