"""The page of an inspection: what was found, and rows as their tokens, trained or not."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from numbers import Integral
from pathlib import Path
from typing import Any

from ..inspection.result import Inspection, ShownRow
from ..io.new_files import write_new
from .page import TEXT_BYTES, page

_BESIDE = 60
"""About what a row takes in the page beside its text, in bytes."""


def inspection_html(
    inspection: Inspection, rows: Iterable[ShownRow], total: int | None = None
) -> str:
    """Make the page of an inspection: one HTML file that loads no other.

    The page holds the first rows until their texts are about ``page.TEXT_BYTES``, and says how
    many of how many those are.

    Args:
        inspection: The inspection.
        rows: Rows as their tokens, those that matter most first.
        total: Number of rows; with it, no more rows are asked for than the page holds. None counts
            them.
    """
    remaining = iter(rows)
    held = list(_until_full(remaining))
    if total is None:
        total = len(held) + sum(1 for _ in remaining)
    facts = [[heading, _pairs(values)] for heading, values in inspection.facts.items()]
    tables = [[heading, _table(lines)] for heading, lines in inspection.tables.items()]
    payload = {
        "title": inspection.data,
        "model": inspection.model,
        "facts": facts,
        "tables": tables,
        "findings": [vars(one) for one in inspection.findings],
        "rows": [_encoded(row) for row in held],
        "total": total,
    }
    return page(payload, "inspection")


def write_inspection(
    inspection: Inspection, rows: Iterable[ShownRow], path: str | Path, total: int | None = None
) -> Path:
    """Write the page of an inspection to a file, and return its path.

    Args:
        inspection: The inspection.
        rows: Rows as their tokens, those that matter most first.
        path: The HTML file.
        total: Number of rows; None counts them.

    Raises:
        UsageError: The file exists already, or cannot be written.
    """
    return write_new(path, inspection_html(inspection, rows, total))


def _until_full(rows: Iterator[ShownRow]) -> Iterator[ShownRow]:
    """Yield rows until their texts are as many bytes as a page takes."""
    size = 0
    for row in rows:
        yield row
        size += sum(map(len, row.tokens)) + _BESIDE
        size += sum(len(value) for one in row.pictures for value in one.values())
        if size > TEXT_BYTES:
            return


def _encoded(row: ShownRow) -> dict[str, Any]:
    """Return a row for the page: ``runs`` are numbers of tokens, not trained and trained in turn.

    The first run is of tokens that are not trained, and may be empty.
    """
    runs = [len(list(run)) for _, run in groupby(row.trained)]
    if row.trained and row.trained[0]:
        runs = [0, *runs]
    return {
        "row": row.row,
        "id": row.sample_id,
        "tokens": row.tokens,
        "runs": runs,
        "cut": row.cut,
        "findings": row.findings,
        **({"weights": row.weights} if row.weights else {}),
        **({"widths": row.widths} if row.widths else {}),
        **({"images": row.pictures} if row.pictures else {}),
    }


def _pairs(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, _value(value)) for name, value in values.items()]


def _table(lines: list[Mapping[str, Any]]) -> dict[str, Any]:
    names = list(lines[0]) if lines else []
    return {"names": names, "lines": [[_value(line.get(name)) for name in names] for line in lines]}


def _value(value: Any) -> int | float | str | None:
    """Return a figure as JSON has it; None for a number that is not finite."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Integral):
        return int(value)
    return None if value is None else str(value)
