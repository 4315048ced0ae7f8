"""JSON and JSON Lines files: which line is bad, and what their reader would not survive."""

import codecs
import gzip
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..errors import UsageError

DEEPEST = 200
"""Levels of nesting; the reader of datasets crashes at some ten thousand."""
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check_json(path: Path) -> None:
    """See that nothing is there that would end the process: deep nesting, null, broken text.

    Raises:
        UsageError: Something is.
    """
    try:
        lines = [b"".join(_lines(path))] if _is_whole(path) else _lines(path)
        for number, line in enumerate(lines, 1):
            if problem := _bad_text(line):  # which the reader of datasets hands on
                raise UsageError(f"{path}, line {number}: {problem}; mend it")
            if line.removeprefix(codecs.BOM_UTF8).strip().startswith(b"null"):
                raise UsageError(f"{path}, line {number}: null is not a JSON object; mend it")
            if line.count(b"[") + line.count(b"{") > DEEPEST and _depth(line) > DEEPEST:
                where = str(path) if _is_whole(path) else f"{path}, line {number}"
                raise UsageError(f"{where}: nested more than {DEEPEST} levels deep; mend it")
    except (OSError, EOFError, zlib.error):
        pass  # not a .gz after all, or cut off: the loader says so


def read_object(path: Path, advice: str = "download it again") -> Mapping[str, Any]:
    """The JSON object that a file is.

    Args:
        path: The file.
        advice: What to do with one that is something else.

    Raises:
        UsageError: It is.
    """
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else error
        raise UsageError(f"{path}: cannot be read as JSON ({why}); {advice}") from error
    if not isinstance(read, dict):
        raise UsageError(f"{path}: is not a JSON object; {advice}")
    return read


def _depth(line: bytes) -> int:
    brackets = _TEXT.sub(b"", line).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _is_whole(path: Path) -> bool:
    """One JSON value, rather than one a line."""
    return path.name.endswith((".json", ".json.gz"))


def bad_line(path: Path) -> str | None:
    """The first line that is not a JSON object, and why; datasets tells bytes, or nothing."""
    try:
        if _is_whole(path):
            try:
                json.loads(b"".join(_lines(path)))
            except json.JSONDecodeError as error:
                if not error.msg.startswith("Extra data"):  # else one object a line
                    return f"line {error.lineno}: {error.msg}"
            else:
                return None
        for number, line in enumerate(_lines(path), 1):
            problem = _bad_json(line)
            if problem:
                return f"line {number}: {problem}"
    except UnicodeDecodeError as error:
        return f"not UTF-8: {error.reason}"
    except (OSError, EOFError, zlib.error):
        pass  # not a .gz after all, or cut off: the loader's own words tell that
    return None


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as lines:
        yield from lines


def _bad_text(line: bytes) -> str | None:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 ({error.reason} at byte {error.start + 1})"
    return None


def _bad_json(line: bytes) -> str | None:
    if problem := _bad_text(line):
        return problem
    try:
        text = line.decode("utf-8-sig").strip()
        value = json.loads(text) if text else {}
    except (json.JSONDecodeError, RecursionError) as error:
        if isinstance(error, RecursionError):
            return "nested too deep"
        return f"{error.msg} at column {error.colno}"
    return None if isinstance(value, dict) else f"{text[:40]} is not a JSON object"
