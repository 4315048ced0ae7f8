"""Agreement in the kept samples: their record in a cell's result, and tables of Jaccard indices."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa

from .differences import full_name, pairs
from .figures import Line, groups
from .grid import Budget
from .statistics import Interval, paired, t_interval
from .tables import NOTHING, Table, number


def kept_bits(ledger: pa.Table, names: Sequence[str]) -> list[str]:
    """Encode the samples that each epoch kept as bits, which keeps the records of cells small.

    Args:
        ledger: The run's ledger.
        names: Ids of the rows, in an order that is the same for all cells of the data.

    Returns:
        For each epoch a number in hexadecimal digits, in which a row's bit is set if it was kept.
    """
    bit = {name: 1 << place for place, name in enumerate(names)}
    bits_of_epoch: dict[int, int] = {}
    for row in ledger.select(["epoch", "sample_id", "kept"]).to_pylist():
        bits_of_epoch[row["epoch"]] = bits_of_epoch.get(row["epoch"], 0) | (
            bit[row["sample_id"]] * row["kept"]
        )
    return [f"{bits:x}" for _, bits in sorted(bits_of_epoch.items())]


def jaccard(one: str, other: str) -> float:
    """Compute the Jaccard index of two sets of kept rows: intersection over union; 1 if both empty.

    Args:
        one: An epoch's number of ``kept_bits``.
        other: An epoch's number of ``kept_bits`` over the same rows.
    """
    a, b = int(one, 16), int(other, 16)
    return (a & b).bit_count() / (a | b).bit_count() if a | b else 1.0


def by_chance(one: float, other: float) -> float:
    """Compute the Jaccard index expected of random choices that keep these shares of samples."""
    either = one + other - one * other
    return one * other / either if either else 1.0


def agreement_tables(
    all_lines: Sequence[Line], references: Mapping[str, Budget | None]
) -> list[Table]:
    """Make a table of Jaccard indices by epoch, paired by seed, for each reference, model and data.

    Cells without a record of their kept samples are left out.

    Args:
        all_lines: The lines of the comparison.
        references: Name of each reference method, and its budget; None compares at equal budgets.
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
    """Jaccard index of a line with its reference, by epoch, and the index expected by chance."""

    line: Line
    by_epoch: list[Interval]
    chance: Interval

    def cells(self, epochs: int) -> tuple[str, ...]:
        indices = [number(interval, decimals=2) for interval in self.by_epoch]
        indices += [NOTHING] * (epochs - len(indices))
        chance = f"{self.chance.mean:.2f}"
        return (self.line.budget, self.line.method, *indices, chance, str(self.by_epoch[0].n))


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
