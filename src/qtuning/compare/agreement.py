"""Agreement in the kept samples: what a cell has on record of them, and the tables made of it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from .differences import full_name, pairs
from .figures import Line, groups
from .grid import Budget
from .statistics import Interval, paired, t_interval
from .tables import NOTHING, Table, number


def kept_bits(ledger: pa.Table, names: Sequence[str]) -> list[str]:
    """The samples that each epoch kept: as small as can be, since every cell has it on record.

    Args:
        ledger: Of the run.
        names: Ids of the rows, in an order that is the same for all cells of the data.

    Returns:
        For each epoch a number in hexadecimal digits, in which a row's bit is set if it was kept.
    """
    bit = {name: 1 << place for place, name in enumerate(names)}
    kept: dict[int, int] = {}
    for row in ledger.select(["epoch", "sample_id", "kept"]).to_pylist():
        kept[row["epoch"]] = kept.get(row["epoch"], 0) | (bit[row["sample_id"]] * row["kept"])
    return [f"{bits:x}" for _, bits in sorted(kept.items())]


def jaccard(one: str, other: str) -> float:
    """Rows kept by both over rows kept by either; 1 if neither kept any.

    Args:
        one: An epoch's number of ``kept_bits``.
        other: Likewise.
    """
    a, b = int(one, 16), int(other, 16)
    return (a & b).bit_count() / (a | b).bit_count() if a | b else 1.0


def by_chance(one: float, other: float) -> float:
    """The index expected of two that blindly keep such shares of the samples."""
    either = one + other - one * other
    return one * other / either if either else 1.0


def agreement_tables(
    all_lines: Sequence[Line], references: Mapping[str, Budget | None]
) -> list[Table]:
    """A table for each reference, model and data: the Jaccard index by epoch, seed by seed.

    Cells that have no kept samples on record are left out.

    Args:
        all_lines: What was run.
        references: As for ``difference_tables``.
    """
    tables = [
        _table(
            f"{title}: kept samples in common with {full_name(method, budget)}",
            pairs(group, method, budget),
        )
        for method, budget in references.items()
        for title, group in groups(all_lines).items()
    ]
    return [table for table in tables if table.rows]


def _table(title: str, compared: Sequence[tuple[Line, Line]]) -> Table:
    rows = [row for one, other in compared if (row := _row(one, other))]
    epochs = max((len(row.by_epoch) for row in rows), default=0)
    header = ("budget", "method", *(f"epoch {epoch + 1}" for epoch in range(epochs)))
    return Table(title, (*header, "by chance", "seeds"), tuple(row.cells(epochs) for row in rows))


class _Row(NamedTuple):
    """What a method has in common with another: the index by epoch, and that by chance."""

    line: Line
    by_epoch: list[Interval]
    chance: Interval

    def cells(self, epochs: int) -> tuple[str, ...]:
        found = [number(interval, decimals=2) for interval in self.by_epoch]
        found += [NOTHING] * (epochs - len(found))
        chance = f"{self.chance.mean:.2f}"
        return (self.line.budget, self.line.method, *found, chance, str(self.by_epoch[0].n))


def _row(one: Line, other: Line) -> _Row | None:
    ours, theirs = (
        {seed: record["kept"] for seed, record in line.records.items() if "kept" in record}
        for line in (one, other)
    )
    indices = [
        [jaccard(*bits) for bits in zip(ours[seed], theirs[seed], strict=False)]
        for seed in sorted(ours.keys() & theirs.keys())
    ]
    chance = paired(one.values("samples"), other.values("samples"), by_chance)
    by_epoch = [t_interval(epoch) for epoch in zip(*indices, strict=False)]
    return _Row(one, by_epoch, chance) if by_epoch and chance else None
