"""The tables of the pages about the studies, from the committed results.

python study/quote.py            # says whether the pages have them
python study/quote.py --write    # puts them in

A page says in a comment what stands between it and the next ``<!-- /table -->``, in four fields:

<!-- table: development | 12.5% x 50% | score; NLL | full; q-tuning -->
    one table of the results: its title, budgets, columns, and methods;
<!-- across: alpaca; gsm8k | 12.5% x 50% | NLL minus full | q-tuning; random-random -->
    one column of several tables, side by side.

A field of ``*`` is all there is, in the order of the results.
"""

import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = {ROOT / "docs/study.md": ROOT / "study/results/results.md"}
"""By page."""
_PLACE = re.compile(r"(<!-- (table|across): ([^>]*?) -->\n).*?(<!-- /table -->)", re.DOTALL)
ALL = ["*"]
_Row = tuple[str, ...]


class Table(NamedTuple):
    """A table of the results; its first two columns are names."""

    header: _Row
    rows: tuple[_Row, ...]


def read(results: str) -> dict[str, Table]:
    """The tables by title, without the model and what a mean is of."""
    found = {}
    for part in results.split("### ")[1:]:
        title, _, body = part.partition("\n")
        title = re.sub(r"^[^,]*, ", "", re.sub(r": mean of [^:]*", "", title))
        header, _, *rows = (
            tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
            for line in body.splitlines()
            if line.startswith("|")
        )
        found[title] = Table(header, tuple(rows))
    return found


def with_tables(page: str, results: str) -> str:
    """The page with the tables that it asks for.

    Raises:
        KeyError: The results have no such table, column or method.
    """
    tables = read(results)

    def filled(match: re.Match[str]) -> str:
        start, kind, asked, end = match.groups()
        titles, firsts, columns, names = map(_items, asked.split("|"))
        if kind == "table":
            made = _one(tables[titles[0]], firsts, columns, names)
        else:
            made = _across({title: tables[title] for title in titles}, firsts, columns[0], names)
        return start + markdown(made) + end

    return _PLACE.sub(filled, page)


def markdown(table: Table) -> str:
    """The table as Markdown."""
    rule = "|---|---|" + "---:|" * (len(table.header) - 2)
    lines = ["| " + " | ".join(row) + " |" for row in (table.header, *table.rows)]
    return "\n".join([lines[0], rule, *lines[1:]]) + "\n"


def _items(field: str) -> list[str]:
    return [item.strip() for item in field.split(";")]


def _one(
    table: Table,
    firsts: Sequence[str],
    columns: Sequence[str],
    names: Sequence[str],
) -> Table:
    rows = _rows(table, firsts, names)
    kept = list(table.header[2:]) if columns == ALL else list(columns)
    header = (*table.header[:2], *kept)
    return Table(header, tuple((*row[:2], *(_cell(table, row, c) for c in kept)) for row in rows))


def _across(
    tables: dict[str, Table], firsts: Sequence[str], column: str, names: Sequence[str]
) -> Table:
    found: dict[_Row, dict[str, str]] = {}
    for title, table in tables.items():
        for row in _rows(table, firsts, names):
            cell = _cell(table, row, column) if column in table.header else ""  # has no tasks
            found.setdefault(row[:2], {})[title] = cell
    rows = tuple((*key, *(cells.get(one, "") for one in tables)) for key, cells in found.items())
    return Table(("budget", "method", *tables), rows)


def _rows(table: Table, firsts: Sequence[str], names: Sequence[str]) -> Sequence[_Row]:
    """In the order in which they are asked for; a row without a budget belongs to all."""
    rows = [row for row in table.rows if firsts == ALL or row[0] in ("", *firsts)]
    if names == ALL:
        return rows
    found = [row for name in names for row in rows if row[1] == name]
    missing = set(names) - {row[1] for row in found}
    if missing:
        raise KeyError(f"no {', '.join(sorted(missing))} in a table of {table.header}")
    return found


def _cell(table: Table, row: _Row, column: str) -> str:
    if column not in table.header:
        raise KeyError(f"no column {column} in {table.header}")
    return row[table.header.index(column)]


def main(write: bool) -> None:
    """Say which pages have other tables than the results, or put the tables in."""
    for path, results in RESULTS.items():
        page = path.read_text(encoding="utf-8")
        made = with_tables(page, results.read_text(encoding="utf-8"))
        if write:
            path.write_text(made, encoding="utf-8")
        elif made != page:
            sys.exit(f"{path}: tables differ from the results; python study/quote.py --write")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
