"""What lies in the quadrants: shares of the values that the data have on record."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..core.plane import BAND, Q1, Q2, Q3, Q4
from .figures import Line
from .tables import Table

_NAMES = {Q1: "Q1", Q2: "Q2", Q3: "Q3", Q4: "Q4", BAND: "band"}
Row = Mapping[str, Any]


def quadrant_tables(all_lines: Sequence[Line]) -> list[Table]:
    """A table for each recorded value of each line that looks at the plane."""
    made = []
    for line in all_lines:
        rows = [row for one in line.records.values() for row in one.get("quadrants", ())]
        if all(row["quadrant"] == BAND for row in rows):
            continue
        for key in line.data.record:
            # A run made before the key was asked for does not have it.
            known = [row for row in rows if key in row]
            if len({bool(row[key]) for row in known}) == 2:
                made.append(_table(line, key, known))
    return made


def _table(line: Line, key: str, rows: Sequence[Row]) -> Table:
    """Of each quadrant: its share, how much of it is marked, and how much of the marked it holds.

    Read as a detector of what is marked, the last two are its precision and recall.
    """
    name = f"{line.model}, {line.data.name}: {line.method} {line.budget}".rstrip()
    body = []
    for epochs, some in (("first", [row for row in rows if row["epoch"] == 0]), ("all", rows)):
        for quadrant, title in _NAMES.items():
            inside = [row for row in some if row["quadrant"] == quadrant]
            body.append(_row(epochs, title, inside, some, key))
        kept = [row for row in some if row["kept"]]
        body.append(_row(epochs, "kept", kept, some, key))
        filled = [row for row in kept if row["filled"]]
        body.append(_row(epochs, "kept, filled", filled, some, key))
        body.append(_row(epochs, "all", some, some, key))
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
