"""Tables of what training has made a model forget: its NLL on the rows of other settings."""

from collections.abc import Callable, Iterator, Sequence

from .figures import FULL, RANDOM, Line, Measure, Record, groups, partner
from .grid import Data
from .statistics import Interval, paired, t_interval
from .tables import NOTHING, Table, number, percent


def forgetting_tables(all_lines: Sequence[Line]) -> list[Table]:
    """Make a table for each model and data set that measures forgetting, over all its other rows.

    A column says how far the NLL is above that of the untrained model, which is the same for all
    lines; others are differences between methods, paired by seed.
    """
    return [
        Table(f"{title}: NLL on other rows", _header(names), tuple(_rows(names, group)))
        for title, group in groups(all_lines).items()
        if (names := [one.name for one in group[0].data.forgetting])
        and any(line.values("forgetting") for line in group)
    ]


def _header(names: Sequence[str]) -> tuple[str, ...]:
    columns = [
        column
        for name in names
        for column in (
            f"{name} NLL",
            f"{name} minus untrained",
            f"{name} minus {RANDOM}",
            f"{name} minus {FULL}",
            f"{name} token accuracy",
        )
    ]
    return ("budget", "method", *columns, "seeds")


def _rows(names: Sequence[str], group: Sequence[Line]) -> Iterator[tuple[str, ...]]:
    for line in group:
        found = [cell for name in names for cell in _cells(name, line, group)]
        n = len(line.values("forgetting"))
        if n:
            yield (line.budget or NOTHING, line.method, *found, str(n))


def _cells(name: str, line: Line, group: Sequence[Line]) -> list[str]:
    accuracy = _mean(line.values_by(_of_rows(name, _accuracy)))
    return [*map(number, _nlls(name, line, group)), percent(accuracy)]


def _nlls(name: str, line: Line, group: Sequence[Line]) -> list[Interval | None]:
    after, rise = _of_rows(name, _nll), _of_rows(name, _rise)
    figures = [_mean(line.values_by(measure)) for measure in (after, rise)]
    for method in (RANDOM, FULL):
        other = partner(line, group, method)
        is_compared = other is not None and other is not line and line.values("compute")
        figures.append(
            paired(line.values_by(after), other.values_by(after))
            if other is not None and is_compared
            else None
        )
    return figures


def _of_rows(name: str, value: Callable[[Record], float | None]) -> Measure:
    """Return the measure of a value of other rows by their name; None without the rows."""

    def measure(record: Record, data: Data) -> float | None:
        one = record.get("forgetting", {}).get(name)
        return None if one is None else value(one)

    return measure


def _nll(one: Record) -> float:
    return float(one["nll"])


def _accuracy(one: Record) -> float | None:
    return one.get("accuracy")


def _rise(one: Record) -> float:
    return float(one["nll"] - one["before"]["nll"])


def _mean(values: dict[int, float]) -> Interval | None:
    return t_interval(list(values.values())) if values else None
