"""How findings are made: of the rows in which something occurs, and what to say of them."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from .result import Finding, Level
from .tokens import Bools

FIRST = 5
"""How many row numbers a finding names."""

_ORDER: dict[Level, int] = {"error": 0, "warning": 1, "note": 2}


def in_rows(level: Level, name: str, rows: Bools, what: str, advice: str) -> list[Finding]:
    """A finding about rows; none if it is about no row.

    Args:
        level: As in ``Finding``.
        name: As in ``Finding``.
        rows: Whether it is found in each row, ``(R,)``.
        what: As in ``Finding``, without the numbers of rows, which are put before it.
        advice: As in ``Finding``.
    """
    count = int(rows.sum())
    if not count:
        return []
    first = tuple(int(row) + 1 for row in np.flatnonzero(rows)[:FIRST])
    return [Finding(level, name, count, first, f"{count:,} of {len(rows):,} rows: {what}", advice)]


def ordered(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """The findings, errors first, then warnings, then notes."""
    return tuple(sorted(findings, key=lambda one: _ORDER[one.level]))


def repeated(hashes: NDArray[np.uint64]) -> Bools:
    """Whether a row has the hash of an earlier one, ``(R,)``."""
    _, first, of = np.unique(hashes, return_index=True, return_inverse=True)
    earlier: Bools = first[of] != np.arange(len(hashes))
    return earlier
