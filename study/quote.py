"""The tables of the pages about the studies, from the committed results.

python study/quote.py            # checks that the pages have the tables
python study/quote.py --write    # writes the tables into the pages

A comment of a page describes the table up to the next ``<!-- /table -->``, in four fields:

<!-- table: development | 12.5% x 50% | score; NLL | full; q-tuning -->
    one table of the results: its title, budgets, columns, and methods;
<!-- across: alpaca; gsm8k | 12.5% x 50% | NLL minus full | q-tuning; random-random -->
    one column of several tables, side by side;
<!-- table of noise: all | 50% x 100% | NLL | gain-high; full -->
    the same from study/noise/results.md; a table is left as it is while that file is missing.

A field ``*`` stands for all entries, in the order of the results.
"""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
RESULTS = {
    ROOT / "docs/study.md": ROOT / "study/results/results.md",
    ROOT / "docs/cheaper-scoring.md": ROOT / "study/cheaper_scoring/results.md",
    ROOT / "docs/suspects.md": ROOT / "study/faults/results.md",
}
"""The file of results of each page."""
_PLACE = re.compile(
    r"(<!-- (table|across)(?: of (\w+))?: ([^>]*?) -->\n).*?(<!-- /table -->)", re.DOTALL
)
ALL = ["*"]
_Row = tuple[str, ...]


class Table(NamedTuple):
    """A table of the results; its first two columns are names."""

    header: _Row
    rows: tuple[_Row, ...]


def read(results: str) -> dict[str, Table]:
    """Read the tables by title, without the model and without the data sets of a mean."""
    tables = {}
    for part in results.split("### ")[1:]:
        title, _, body = part.partition("\n")
        title = re.sub(r"^[^,]*, ", "", re.sub(r": mean of [^:]*", "", title))
        header, _, *rows = (
            tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
            for line in body.splitlines()
            if line.startswith("|")
        )
        tables[title] = Table(header, tuple(rows))
    return tables


def other_results() -> dict[str, str]:
    """The results of further studies that a page may name, by their folder."""
    files = sorted(ROOT.glob("study/*/results.md"))
    return {file.parent.name: file.read_text(encoding="utf-8") for file in files}


def with_tables(page: str, results: str, others: Mapping[str, str] | None = None) -> str:
    """Fill the tables of a page from the results.

    Args:
        page: The page.
        results: The page's own results.
        others: Results of other studies by name; a table of one that is missing stays as it is.

    Raises:
        KeyError: The results have no such table, column or method.
    """
    tables_of = {name: read(text) for name, text in (others or {}).items()}
    own = read(results)

    def fill(match: re.Match[str]) -> str:
        start, kind, study, query, end = match.groups()
        if study is not None and study not in tables_of:
            return match[0]
        tables = own if study is None else tables_of[study]
        titles, firsts, columns, names = map(_items, query.split("|"))
        if kind == "table":
            table = _one(tables[titles[0]], firsts, columns, names)
        else:
            table = _across({title: tables[title] for title in titles}, firsts, columns[0], names)
        return start + markdown(table) + end

    return _PLACE.sub(fill, page)


def markdown(table: Table) -> str:
    """Format a table as Markdown."""
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
    selection = list(table.header[2:]) if columns == ALL else list(columns)
    header = (*table.header[:2], *selection)
    return Table(
        header, tuple((*row[:2], *(_cell(table, row, c) for c in selection)) for row in rows)
    )


def _across(
    tables: dict[str, Table], firsts: Sequence[str], column: str, names: Sequence[str]
) -> Table:
    cells_of: dict[_Row, dict[str, str]] = {}
    for title, table in tables.items():
        for row in _rows(table, firsts, names):
            cell = (
                _cell(table, row, column) if column in table.header else ""
            )  # data without tasks have no score
            cells_of.setdefault(row[:2], {})[title] = cell
    rows = tuple((*key, *(cells.get(one, "") for one in tables)) for key, cells in cells_of.items())
    return Table(("budget", "method", *tables), rows)


def _rows(table: Table, firsts: Sequence[str], names: Sequence[str]) -> Sequence[_Row]:
    """Select rows by budget and method, in the order of ``names``; rows without budget match."""
    rows = [row for row in table.rows if firsts == ALL or row[0] in ("", *firsts)]
    if names == ALL:
        return rows
    selection = [row for name in names for row in rows if row[1] == name]
    missing = set(names) - {row[1] for row in selection}
    if missing:
        raise KeyError(f"no {', '.join(sorted(missing))} in a table of {table.header}")
    return selection


def _cell(table: Table, row: _Row, column: str) -> str:
    if column not in table.header:
        raise KeyError(f"no column {column} in {table.header}")
    return row[table.header.index(column)]


def main(write: bool) -> None:
    """Check that the tables of all pages are those of the results, or write them."""
    for path, results in RESULTS.items():
        page = path.read_text(encoding="utf-8")
        new_page = with_tables(page, results.read_text(encoding="utf-8"), other_results())
        if write:
            path.write_text(new_page, encoding="utf-8")
        elif new_page != page:
            sys.exit(f"{path}: tables differ from the results; python study/quote.py --write")


if __name__ == "__main__":
    main("--write" in sys.argv[1:])
