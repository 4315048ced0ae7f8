"""How many marked rows, such as those of exchanged answers, each method keeps."""

from collections.abc import Callable, Sequence

from .figures import Line, Measure, Record, groups
from .grid import Data
from .statistics import t_interval
from .tables import NOTHING, Table, percent


def marked_tables(all_lines: Sequence[Line]) -> list[Table]:
    """Make a table for each recorded key of data on which a method was scored before training.

    Both columns are over all epochs: the share of the samples trained on that are marked, and the
    share of the marked samples that are trained on; means over the seeds.
    """
    return [
        Table(
            f"{title}: {key} among the kept",
            ("budget", "method", f"{key} of the kept", f"kept of all {key}", "seeds"),
            rows,
        )
        for title, group in groups(all_lines).items()
        if any("scored_before_tokens" in one for line in group for one in line.records.values())
        for key in group[0].data.record
        if (rows := tuple(_rows(group, key)))
    ]


def _rows(group: Sequence[Line], key: str) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for line in group:
        of_kept, of_marked = (
            list(line.values_by(_share(part, whole)).values())
            for part, whole in (
                (_kept_and(key), lambda row: bool(row["kept"])),
                (_kept_and(key), lambda row: bool(row.get(key))),
            )
        )
        if of_kept and of_marked:
            shares = (percent(t_interval(of_kept)), percent(t_interval(of_marked)))
            rows.append((line.budget or NOTHING, line.method, *shares, str(len(of_kept))))
    return rows


def _kept_and(key: str) -> Callable[[Record], bool]:
    return lambda row: bool(row["kept"] and row.get(key))


def _share(part: Callable[[Record], bool], whole: Callable[[Record], bool]) -> Measure:
    """Return the measure of the share of samples in ``whole`` that are in ``part``."""

    def measure(record: Record, data: Data) -> float | None:
        rows = record.get("quadrants", ())
        n = sum(row["samples"] for row in rows if whole(row))
        return sum(row["samples"] for row in rows if part(row)) / n if n else None

    return measure
