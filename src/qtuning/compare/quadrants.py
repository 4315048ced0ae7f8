"""Contents of the quadrants: shares of the rows that the data mark, such as shuffled ones."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.plane import BAND, Q1, Q2, Q3, Q4
from .figures import Line
from .tables import Table

_NAMES = {Q1: "Q1", Q2: "Q2", Q3: "Q3", Q4: "Q4", BAND: "band"}
Row = Mapping[str, Any]


def quadrant_tables(all_lines: Sequence[Line]) -> list[Table]:
    """Make a table for each recorded key of each line whose method uses the plane."""
    tables = []
    for line in all_lines:
        rows = [row for record in line.records.values() for row in record.get("quadrants", ())]
        if all(row["quadrant"] == BAND for row in rows):
            continue
        for key in line.data.record:
            # A cell may have run with a grid that did not record this key.
            rows_with_key = [row for row in rows if key in row]
            if len({bool(row[key]) for row in rows_with_key}) == 2:
                tables.append(_table(line, key, rows_with_key))
    return tables


def _table(line: Line, key: str, rows: Sequence[Row]) -> Table:
    """Make a table of each quadrant: its share, the marked share of it, its share of the marked.

    With a quadrant as a detector of marked rows, the last two are precision and recall.
    """
    name = f"{line.model}, {line.data.name}: {line.method} {line.budget}".rstrip()
    body = []
    for epochs, candidates in (
        ("first", [row for row in rows if row["epoch"] == 0]),
        ("all", rows),
    ):
        for quadrant, title in _NAMES.items():
            in_quadrant = [row for row in candidates if row["quadrant"] == quadrant]
            body.append(_row(epochs, title, in_quadrant, candidates, key))
        kept_rows = [row for row in candidates if row["kept"]]
        body.append(_row(epochs, "kept", kept_rows, candidates, key))
        filled_rows = [row for row in kept_rows if row["filled"]]
        body.append(_row(epochs, "kept, filled", filled_rows, candidates, key))
        body.append(_row(epochs, "all", candidates, candidates, key))
    header = ("epochs", "where", "samples", f"{key} of these", f"of all {key}")
    return Table(f"{name}: {key}", header, tuple(body))


def _row(
    epochs: str, where: str, inside: Sequence[Row], everything: Sequence[Row], key: str
) -> tuple[str, ...]:
    marked = _samples(row for row in inside if row[key])
    return (
        epochs,
        where,
        _percent(_samples(inside), _samples(everything)),
        _percent(marked, _samples(inside)),
        _percent(marked, _samples(row for row in everything if row[key])),
    )


def _samples(rows: Iterable[Row]) -> int:
    return sum(row["samples"] for row in rows)


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f}" if whole else ""
