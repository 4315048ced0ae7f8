"""Rows of JSON and JSON Lines files, read with the place of each, and checked; values to write."""

import codecs
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from ..errors import UsageError

Row = Mapping[str, Any]

WRAPPERS = ("train", "data")
"""Keys of an object that is a whole file, and holds its rows as a list."""


def json_rows(
    file: BinaryIO, where: str, *, lines: bool, field: str | None = None
) -> Iterator[tuple[str, Row]]:
    """Read the rows of a file: objects, one a line; or an array of objects, or of texts.

    Args:
        file: The file, opened.
        where: Its name in messages.
        lines: Whether it is JSON Lines by its name, so that no value goes over several lines.
        field: The key of the object that the file holds, whose value is the array; None for none.

    Yields:
        Where a row stands, as "line 3" or "entry 3", and the row.

    Raises:
        UsageError: The file is not UTF-8 or no JSON, or holds something else than objects.
    """
    first = True
    for number, line in enumerate(file, 1):
        line = line.removeprefix(codecs.BOM_UTF8) if number == 1 else line
        if not line.strip():
            continue
        if first and (field is not None or not _is_row(line, lines)):
            yield from _whole(line, file, number, where, field)
            return
        first = False
        yield f"line {number}", _object(_parsed(line.rstrip(), where, number), line, where, number)


def wrapped(row: Row) -> list[str]:
    """The keys of the lists of rows in a file's only object; empty if that is a row itself."""
    found = [key for key, value in row.items() if _is_rows(value)]
    return found if set(found) & set(WRAPPERS) else []


def fields_as_splits(keys: list[str], parts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """A split for each key of a file's only object; the rows under ``data`` are called "train".

    Args:
        keys: The keys, from ``wrapped``.
        parts: What else says where rows are; the key is added as ``field``.
    """
    names = ["train" if key == "data" and "train" not in keys else key for key in keys]
    return {name: {**parts, "field": key} for name, key in zip(names, keys, strict=True)}


def read_object(path: Path, advice: str = "download it again") -> Mapping[str, Any]:
    """Read a file that holds one JSON object.

    Args:
        path: The file.
        advice: What to do with a file that holds something else, for messages.

    Raises:
        UsageError: The file cannot be read, or holds something else than a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read as JSON ({why}); {advice}") from error
    if not isinstance(content, dict):
        raise UsageError(f"{path}: is not a JSON object; {advice}")
    return content


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(one, dict) for one in value)


def finite(value: Any) -> Any:
    """A value for a JSON file: None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _is_row(line: bytes, lines: bool) -> bool:
    """Whether the first line of a file is a row, rather than the begin of an array or an object."""
    if line.lstrip().startswith(b"["):
        return False
    try:
        json.loads(line)
    except (ValueError, RecursionError):
        return lines
    return True


def _whole(
    begin: bytes, file: BinaryIO, number: int, where: str, field: str | None
) -> Iterator[tuple[str, Row]]:
    """The rows of a file that is one JSON value.

    Args:
        begin: The first line with content.
        file: The file, read up to the end of that line.
        number: The number of that line.
        where: The file's name in messages.
        field: The key whose value holds the rows, or None.
    """
    content = begin + file.read()
    value = _parsed(content, where, number, rest=begin)
    if field is not None:
        value = value.get(field) if isinstance(value, dict) else None
        if not isinstance(value, list):
            raise UsageError(f"{where}: no list of rows under {field}; mend it")
    if not isinstance(value, list):
        yield f"line {number}", _object(value, begin, where, number)
        return
    for entry, one in enumerate(value, 1):
        if isinstance(one, str):  # datasets reads them so
            one = {"text": one}
        if not isinstance(one, dict):
            raise UsageError(
                f"{where}, entry {entry}: {json.dumps(one)[:40]} is not a JSON object; mend it"
            )
        yield f"entry {entry}", one


def _object(value: Any, line: bytes, where: str, number: int) -> Row:
    if not isinstance(value, dict):
        text = line.decode("utf-8", "replace").strip()[:40]
        raise UsageError(f"{where}, line {number}: {text} is not a JSON object; mend it")
    return value


def _parsed(content: bytes, where: str, number: int, rest: bytes | None = None) -> Any:
    """The value of a JSON text.

    Args:
        content: The text.
        where: The file's name in messages.
        number: The number of the text's first line.
        rest: The first line of a text of several.

    Raises:
        UsageError: The text is not UTF-8, no JSON, nested too deep, or has a key twice.
    """
    try:
        return json.loads(content.decode("utf-8"), object_pairs_hook=_unique)
    except UnicodeDecodeError as error:
        begin = content.rfind(b"\n", 0, error.start) + 1
        number += content.count(b"\n", 0, error.start)
        why = f"not UTF-8 ({error.reason} at byte {error.start - begin + 1})"
    except json.JSONDecodeError as error:
        if rest is not None and error.msg.startswith("Extra data"):  # then it is JSON Lines
            return _object(_parsed(rest, where, number), rest, where, number)
        number += error.lineno - 1
        why = f"{error.msg} at column {error.colno}"
    except RecursionError:
        why = "nested too deep"
    except ValueError as error:
        why = str(error)
    raise UsageError(f"{where}, line {number}: {why}; mend it")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object of its pairs.

    Raises:
        ValueError: A key is there twice.
    """
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:40]!r} is there twice")
    return made
