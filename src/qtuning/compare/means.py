"""Means over several data sets: one table for each mean that the grid names."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from .figures import FULL, RANDOM, Line, partner
from .statistics import Interval, paired, t_interval
from .tables import NOTHING, Table, number, percent


@dataclass(frozen=True)
class Mean:
    """A method at a budget, averaged over all data sets of a mean."""

    budget: str
    method: str
    lines: tuple[Line, ...]

    def values(self, measure: str) -> dict[int, float]:
        """Return by seed the mean over the data sets with this measure, for their common seeds."""
        by_data = [values for values in (line.values(measure) for line in self.lines) if values]
        seeds = set.intersection(*map(set, by_data)) if by_data else set()
        return {seed: fmean(values[seed] for values in by_data) for seed in sorted(seeds)}

    def mean(self, measure: str) -> Interval | None:
        values = self.values(measure)
        return t_interval(list(values.values())) if values else None

    def minus(self, other: "Mean | None", measure: str) -> Interval | None:
        if other is None or other is self:
            return None
        return paired(self.values(measure), other.values(measure))


def mean_groups(
    all_lines: Sequence[Line], means: Mapping[str, Sequence[str]]
) -> dict[str, list[Mean]]:
    """Group the methods that ran on all data sets of a mean under a title, by model and mean."""
    groups = {}
    for model in dict.fromkeys(line.model for line in all_lines):
        for name, data in means.items():
            group = _group([line for line in all_lines if line.model == model], data)
            if group:
                groups[f"{model}, {name}: mean of {', '.join(data)}"] = group
    return groups


def mean_tables(means: Mapping[str, Sequence[Mean]]) -> list[Table]:
    """Make a table for each of the ``mean_groups``.

    Differences are paired by seed, between means over the data sets. The score is a mean over the
    data sets that have tasks.
    """
    return [
        _table(title, group, forgets=any(one.values("forgetting") for one in group))
        for title, group in means.items()
    ]


def _table(title: str, group: Sequence[Mean], *, forgets: bool) -> Table:
    more = _FORGETTING if forgets else ()
    header = ("budget", "method", *_SCORE, *_NLL, *more, "answer tokens", "compute", "seeds")
    return Table(title, header, tuple(_row(one, group, forgets=forgets) for one in group))


_SCORE = ("score", f"score minus {RANDOM}", f"score minus {FULL}")
_NLL = ("NLL", f"NLL minus {RANDOM}", f"NLL minus {FULL}")
_FORGETTING = ("forgetting", f"forgetting minus {RANDOM}", f"forgetting minus {FULL}")


def _group(lines: Sequence[Line], data: Sequence[str]) -> list[Mean]:
    lines_of: dict[tuple[str, str], dict[str, Line]] = {}
    for line in lines:
        lines_of.setdefault((line.budget, line.method), {})[line.data.name] = line
    means = [
        Mean(budget, method, tuple(by_data[name] for name in data))
        for (budget, method), by_data in lines_of.items()
        if by_data.keys() >= set(data)
    ]
    return sorted(means, key=lambda mean: mean.budget)


def _row(one: Mean, means: Sequence[Mean], *, forgets: bool) -> tuple[str, ...]:
    others = [partner(one, means, method) for method in (RANDOM, FULL)]
    score = (one.mean("score"), *(one.minus(other, "score") for other in others))
    nll = (one.mean("nll"), *(one.minus(other, "nll") for other in others))
    more = (one.mean("forgetting"), *(one.minus(other, "forgetting") for other in others))
    forgetting = more if forgets else ()
    cost = (one.mean("answer_tokens"), one.mean("compute"))
    seeds = str(len(one.values("nll") or one.values("score")))
    names = (one.budget or NOTHING, one.method)
    nats = map(number, (*nll, *forgetting))
    return (*names, *map(percent, score), *nats, *map(percent, cost), seeds)
