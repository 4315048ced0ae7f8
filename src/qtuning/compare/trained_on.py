"""Tables of how much a run trained on, where the number of steps depends on the method."""

from collections.abc import Sequence

from .figures import Line, Measure, Record, groups
from .grid import Data
from .statistics import t_interval
from .tables import NOTHING, Table, number

_COUNTS = {
    "steps": "steps",
    "samples": "kept_samples",
    "answer tokens": "kept_answer_tokens",
    "trained tokens": "trained_tokens",
    "scored tokens": "scored_tokens",
}


def trained_on_tables(
    all_lines: Sequence[Line], methods_with_data_ratio: frozenset[str]
) -> list[Table]:
    """Make a table of counts for each model and data set that has a method with a ``data_ratio``.

    Args:
        all_lines: The lines of the comparison.
        methods_with_data_ratio: Names of the methods that train on a share of the rows.
    """
    return [
        Table(
            f"{title}: numbers trained on",
            ("budget", "method", *_COUNTS, "seeds"),
            tuple(_row(line) for line in group if line.values("compute")),
        )
        for title, group in groups(all_lines).items()
        if any(line.method in methods_with_data_ratio for line in group)
    ]


def _row(line: Line) -> tuple[str, ...]:
    cells = []
    for name in _COUNTS.values():
        values = line.values_by(_count(name))
        interval = t_interval(list(values.values())) if values else None
        cells.append(number(interval, decimals=0))
    return (line.budget or NOTHING, line.method, *cells, str(len(line.values("compute"))))


def _count(name: str) -> Measure:
    def measure(record: Record, data: Data) -> float | None:
        count: float = record["counts"][name]
        return count + (record.get("scored_before_tokens", 0) if name == "scored_tokens" else 0)

    return measure
