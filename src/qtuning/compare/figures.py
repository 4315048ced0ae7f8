"""The figures of a comparison: the measures of each method and budget, over its seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any, Protocol, TypeVar

from .grid import Cell, Data
from .statistics import Interval, paired, t_interval

Record = Mapping[str, Any]
Measure = Callable[[Record, Data], float | None]

RANDOM, FULL = "random-random", "full"
"""Names of the methods with which all other methods are compared, seed by seed."""


def score(record: Record, data: Data) -> float | None:
    """Return the mean of the metrics that ``data.score`` names; None if a metric is missing."""
    values = [task_metric(record, spec) for spec in data.score]
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present and len(present) == len(values) else None


def task_metric(record: Record, spec: str) -> float | None:
    """Return a metric of a record by ``task:metric`` or ``task:metric,filter``; None if missing."""
    task, _, rest = spec.partition(":")
    metric, _, how = rest.partition(",")
    for one in record.get("tasks", ()):
        if one["task"] == task and one["metric"] == metric and how in ("", one["filter"]):
            return float(one["value"])
    return None


def _held_out(name: str) -> Measure:
    def measure(record: Record, data: Data) -> float | None:
        value: float | None = record.get("held_out", {}).get(name)
        return value

    return measure


def _cost(name: str) -> Measure:
    def measure(record: Record, data: Data) -> float | None:
        return record["cost"][name] if "cost" in record else None

    return measure


def forgotten(record: Record, data: Data) -> float | None:
    """Return how much the NLL on other rows has risen, the mean over all of them, in nats."""
    rises = [one["nll"] - one["before"]["nll"] for one in record.get("forgetting", {}).values()]
    return fmean(rises) if rises else None


def _seconds(record: Record, data: Data) -> float | None:
    return record["counts"]["total_seconds"] if "counts" in record else None


class Compared(Protocol):
    """A method at a budget, on one data set or on several, that tables compare with others."""

    @property
    def method(self) -> str:
        """Name of the method."""

    @property
    def budget(self) -> str:
        """Name of the budget; empty where there is none."""

    def values(self, measure: str) -> dict[int, float]:
        """Return a measure by seed, for the seeds that have the measure."""


_Member = TypeVar("_Member", bound=Compared)

MEASURES: dict[str, Measure] = {
    "score": score,
    "nll": _held_out("nll"),
    "accuracy": _held_out("accuracy"),
    "calibration_error": _held_out("calibration_error"),
    "samples": _cost("samples"),
    "answer_tokens": _cost("answer_tokens"),
    "compute": _cost("compute"),
    "seconds": _seconds,
    "forgetting": forgotten,
}
"""Functions of the measures by name; each returns None for a record without its measure."""


@dataclass(frozen=True)
class Line:
    """A method at a budget on data with a model, over its seeds.

    Attributes:
        model: Name of the model.
        data: The data set.
        method: Name of the method.
        budget: Name of the budget; empty where there is none.
        records: Records of the cells by seed.
    """

    model: str
    data: Data
    method: str
    budget: str
    records: Mapping[int, Record]

    def values(self, measure: str) -> dict[int, float]:
        """Return a measure by seed, for the seeds that have the measure."""
        return self.values_by(MEASURES[measure])

    def values_by(self, measure: Measure) -> dict[int, float]:
        """Return what a function of records gives by seed, without None."""
        by_seed = {seed: measure(one, self.data) for seed, one in self.records.items()}
        return {seed: value for seed, value in by_seed.items() if value is not None}

    def mean(self, measure: str) -> Interval | None:
        """Return a measure's mean over the seeds with its 95% interval; None without values."""
        values = self.values(measure)
        return t_interval(list(values.values())) if values else None

    def of_task(self, spec: str) -> Interval | None:
        """Return the mean of a task's metric over the seeds; None without values."""
        metrics = [task_metric(one, spec) for one in self.records.values()]
        values = [value for value in metrics if value is not None]
        return t_interval(values) if values else None

    def minus(self, other: "Line", measure: str) -> Interval | None:
        """Return the mean difference to another line over the seeds that both have."""
        return paired(self.values(measure), other.values(measure))


def lines(done: Iterable[tuple[Cell, Record]]) -> list[Line]:
    """Make one line for each model, data set, method and budget, in the order of the cells."""
    records_of: dict[tuple[str, str, str, str], dict[int, Record]] = {}
    data: dict[str, Data] = {}
    for cell, record in done:
        budget = "" if cell.budget is None else cell.budget.name
        data[cell.data.name] = cell.data
        place = (cell.model, cell.data.name, cell.method.name, budget)
        records_of.setdefault(place, {})[cell.seed] = record
    return [
        Line(model, data[name], method, budget, records)
        for (model, name, method, budget), records in records_of.items()
    ]


def groups(all_lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Group the lines by model and data set under a title, sorted by budget within a group."""
    runs = groupby(all_lines, key=lambda line: f"{line.model}, {line.data.name}")
    return {title: sorted(group, key=lambda line: line.budget) for title, group in runs}


def partner(one: _Member, group: Sequence[_Member], method: str) -> _Member | None:
    """Return the member of a group that has this method, at the budget of ``one`` or without."""
    members = [
        member for member in group if member.method == method and member.budget in (one.budget, "")
    ]
    return members[0] if members else None
