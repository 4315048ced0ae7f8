"""Rows of CSV files: every cell is text, as it stands in the file."""

import csv
import io
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import BinaryIO

from ..errors import UsageError

_LONGEST = 2**31 - 1
_AT_A_TIME = 1000


def csv_columns(file: BinaryIO, where: str, separator: str) -> list[str]:
    """The names in the first line of a file.

    Args:
        file: The file, opened.
        where: Its name in messages.
        separator: What stands between two cells.

    Raises:
        UsageError: The file is not UTF-8, or a name is there twice.
    """
    return _header(_cells(file, where, separator), where)


def csv_rows(file: BinaryIO, where: str, separator: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Read the rows of a file; the first line has the names of the columns.

    Args:
        file: The file, opened.
        where: Its name in messages.
        separator: What stands between two cells.

    Yields:
        Where a row ends, as "line 3", and the row. Empty lines are passed over.

    Raises:
        UsageError: The file is not UTF-8, a quote stays open, or a row has more or fewer cells than
            the first line.
    """
    lines = _cells(file, where, separator)
    names = _header(lines, where)
    for number, cells in lines:
        if len(cells) != len(names):
            raise UsageError(
                f"{where}, line {number}: {len(cells)} cells where the first line has "
                f"{len(names)}; put quotes around cells that have {separator!r} or a line break"
            )
        yield f"line {number}", dict(zip(names, cells, strict=True))


def _header(lines: Iterator[tuple[int, list[str]]], where: str) -> list[str]:
    _, cells = next(lines, (0, []))
    # As pandas calls columns without a name, which it writes for its row numbers.
    names = [name or f"Unnamed: {place}" for place, name in enumerate(cells)]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UsageError(f"{where}: several columns are called {', '.join(twice)}; rename them")
    return names


def _cells(file: BinaryIO, where: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The cells of every line that has some, with the number of its last line."""
    reader = csv.reader(_lines(file, where), delimiter=separator, strict=True)
    numbered = ((reader.line_num, cells) for cells in reader)
    while True:
        try:
            with _long_cells():
                batch = list(islice(numbered, _AT_A_TIME))
        except csv.Error as error:
            raise UsageError(f"{where}, line {reader.line_num}: {error}; mend it") from error
        if not batch:
            return
        yield from ((number, cells) for number, cells in batch if cells)


def _lines(file: BinaryIO, where: str) -> Iterator[str]:
    """The lines of a file as text, with their ends.

    Raises:
        UsageError: A line is not UTF-8.
    """
    for number, line in enumerate(file, 1):
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            why = f"not UTF-8 ({error.reason} at byte {error.start + 1})"
            raise UsageError(f"{where}, line {number}: {why}; mend it") from error
        # The file splits its lines at "\n" alone, and "\r" ends one as well.
        yield from io.StringIO(text, newline="") if "\r" in text[:-2] else (text,)


@contextmanager
def _long_cells() -> Iterator[None]:
    """A context in which ``csv`` reads cells of any length; its limit is one of the process."""
    limit = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(limit)
