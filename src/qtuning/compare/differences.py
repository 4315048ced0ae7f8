"""Differences to methods that a grid names, such as one of the same cost at another budget."""

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
    """A table for each reference and group in which it was run, paired by seed.

    Args:
        groups: Title, and what is compared with each other.
        references: Method, and its budget; None compares at the same budget only.
    """
    made = []
    for method, budget in references.items():
        where = full_name(method, budget)
        header = ("budget", "method", f"score minus {method}", f"NLL minus {method}")
        cost = (f"answer tokens over {method}", f"compute over {method}", "seeds")
        for title, group in groups.items():
            rows = [_row(one, other) for one, other in pairs(group, method, budget)]
            if rows:
                title = f"{title}: differences to {where}"
                made.append(Table(title, (*header, *cost), tuple(rows)))
    return made


def full_name(method: str, budget: Budget | None) -> str:
    """A reference's name, with its budget if it has one."""
    return method if budget is None else f"{method} {budget.name}"


def pairs(
    group: Sequence[_Member], method: str, budget: Budget | None
) -> list[tuple[_Member, _Member]]:
    """Members of a group that have a budget, each with the reference that it is compared with."""
    return [
        (one, other)
        for other in group
        if other.method == method and (budget is None or other.budget == budget.name)
        for one in group
        if one is not other and one.budget and (budget or one.budget == other.budget)
    ]


def _row(one: Compared, other: Compared) -> tuple[str, ...]:
    score, nll = (paired(one.values(what), other.values(what)) for what in ("score", "nll"))
    tokens, compute = (
        paired(one.values(what), other.values(what), operator.truediv)
        for what in ("answer_tokens", "compute")
    )
    seeds = "" if compute is None else str(compute.n)
    cost = (number(tokens, decimals=2), number(compute, decimals=2), seeds)
    return (one.budget, one.method, percent(score), number(nll), *cost)
