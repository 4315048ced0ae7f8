"""The figures of a comparison: what each way of training achieved, over its seeds."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Protocol, TypeVar

from .grid import Cell, Data
from .statistics import Interval, paired, t_interval

Record = Mapping[str, Any]
Measure = Callable[[Record, Data], float | None]

RANDOM, FULL = "random-random", "full"
"""Names of the methods that all others are compared with, seed by seed."""


def score(record: Record, data: Data) -> float | None:
    """Mean of the metrics that the data name as their score."""
    values = [task_metric(record, spec) for spec in data.score]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def task_metric(record: Record, spec: str) -> float | None:
    """A metric ``task:metric`` or ``task:metric,filter`` of a record."""
    task, _, rest = spec.partition(":")
    metric, _, how = rest.partition(",")
    for one in record.get("tasks", ()):
        if one["task"] == task and one["metric"] == metric and how in ("", one["filter"]):
            return float(one["value"])
    return None


def _held_out(name: str) -> Measure:
    def measure(record: Record, data: Data) -> float | None:
        return record["held_out"][name] if "held_out" in record else None

    return measure


def _cost(name: str) -> Measure:
    def measure(record: Record, data: Data) -> float | None:
        return record["cost"][name] if "cost" in record else None

    return measure


def _seconds(record: Record, data: Data) -> float | None:
    return record["counts"]["total_seconds"] if "counts" in record else None


class Compared(Protocol):
    """A method at a budget, on one data set or on several; a group of them is compared."""

    @property
    def method(self) -> str:
        """Name of the method."""

    @property
    def budget(self) -> str:
        """Name of the budget; empty where there is none."""

    def values(self, measure: str) -> dict[int, float]:
        """A measure by seed, of those that have it."""


_Member = TypeVar("_Member", bound=Compared)

MEASURES: dict[str, Measure] = {
    "score": score,
    "nll": _held_out("nll"),
    "calibration_error": _held_out("calibration_error"),
    "samples": _cost("samples"),
    "answer_tokens": _cost("answer_tokens"),
    "compute": _cost("compute"),
    "seconds": _seconds,
}
"""By name; None where a record does not have it."""


@dataclass(frozen=True)
class Line:
    """A method at a budget on data with a model, over its seeds.

    Attributes:
        model: Name of the model.
        data: The data.
        method: Name of the method.
        budget: Name of the budget; empty where there is none.
        records: By seed.
    """

    model: str
    data: Data
    method: str
    budget: str
    records: Mapping[int, Record]

    def values(self, measure: str) -> dict[int, float]:
        """A measure by seed, of those that have it."""
        found = {seed: MEASURES[measure](one, self.data) for seed, one in self.records.items()}
        return {seed: value for seed, value in found.items() if value is not None}

    def mean(self, measure: str) -> Interval | None:
        """Its mean over the seeds with a 95% interval; None if there is no value."""
        values = self.values(measure)
        return t_interval(list(values.values())) if values else None

    def of_task(self, spec: str) -> Interval | None:
        """The mean of a task's metric."""
        found = [task_metric(one, spec) for one in self.records.values()]
        values = [value for value in found if value is not None]
        return t_interval(values) if values else None

    def minus(self, other: "Line", measure: str) -> Interval | None:
        """The mean difference to another line over the seeds that both have."""
        return paired(self.values(measure), other.values(measure))


def lines(done: Iterable[tuple[Cell, Record]]) -> list[Line]:
    """One line for each model, data, method and budget, in the order in which they come."""
    found: dict[tuple[str, str, str, str], dict[int, Record]] = {}
    data: dict[str, Data] = {}
    for cell, record in done:
        budget = "" if cell.budget is None else cell.budget.name
        data[cell.data.name] = cell.data
        where = (cell.model, cell.data.name, cell.method.name, budget)
        found.setdefault(where, {})[cell.seed] = record
    return [
        Line(model, data[name], method, budget, records)
        for (model, name, method, budget), records in found.items()
    ]


def groups(all_lines: Iterable[Line]) -> dict[str, list[Line]]:
    """Title, and what is compared: the lines of a model and data, by budget."""
    found = groupby(all_lines, key=lambda line: f"{line.model}, {line.data.name}")
    return {title: sorted(some, key=lambda line: line.budget) for title, some in found}


def partner(one: _Member, group: Sequence[_Member], method: str) -> _Member | None:
    """Another method of a group to compare with: at the same budget, or without any."""
    alike = [o for o in group if o.method == method and o.budget in (one.budget, "")]
    return alike[0] if alike else None
