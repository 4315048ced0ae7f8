"""Differences to the reference methods that a grid names, at the same or at a fixed budget."""

import operator
from collections.abc import Mapping, Sequence
from typing import TypeVar

from .figures import Compared
from .grid import Budget
from .statistics import paired
from .tables import Table, number, percent

_Member = TypeVar("_Member", bound=Compared)


def difference_tables(
    groups: Mapping[str, Sequence[Compared]], references: Mapping[str, Budget | None]
) -> list[Table]:
    """Make a table of differences, paired by seed, for each reference and group with its results.

    Args:
        groups: Title of each group, and the methods in it.
        references: Name of each reference method, and its budget; None compares at equal budgets.
    """
    tables = []
    for method, budget in references.items():
        reference = full_name(method, budget)
        header = ("budget", "method", f"score minus {method}", f"NLL minus {method}")
        cost = (f"answer tokens over {method}", f"compute over {method}", "seeds")
        for title, group in groups.items():
            compared = pairs(group, method, budget)
            forgets = any(one.values("forgetting") for pair in compared for one in pair)
            more = (f"forgetting minus {method}",) if forgets else ()
            rows = [_row(one, other, forgets) for one, other in compared]
            if rows:
                title = f"{title}: differences to {reference}"
                tables.append(Table(title, (*header, *more, *cost), tuple(rows)))
    return tables


def full_name(method: str, budget: Budget | None) -> str:
    """Return the name of a reference method, with its budget if it has a fixed one."""
    return method if budget is None else f"{method} {budget.name}"


def pairs(
    group: Sequence[_Member], method: str, budget: Budget | None
) -> list[tuple[_Member, _Member]]:
    """Pair each member of a group that has a budget with the reference to compare it with."""
    return [
        (one, other)
        for other in group
        if other.method == method and (budget is None or other.budget == budget.name)
        for one in group
        if one is not other and one.budget and (budget or one.budget == other.budget)
    ]


def _row(one: Compared, other: Compared, forgets: bool) -> tuple[str, ...]:
    score, nll, forgetting = (
        paired(one.values(measure), other.values(measure))
        for measure in ("score", "nll", "forgetting")
    )
    tokens, compute = (
        paired(one.values(measure), other.values(measure), operator.truediv)
        for measure in ("answer_tokens", "compute")
    )
    seeds = "" if compute is None else str(compute.n)
    cost = (number(tokens, decimals=2), number(compute, decimals=2), seeds)
    more = (number(forgetting),) if forgets else ()
    return (one.budget, one.method, percent(score), number(nll), *more, *cost)
