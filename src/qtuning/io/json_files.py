"""JSON and JSON Lines files: bad lines, content that would crash their reader, values to write."""

import codecs
import gzip
import json
import math
import re
import zlib
from collections.abc import Iterator, Mapping
from itertools import accumulate
from pathlib import Path
from typing import Any

from ..errors import UsageError

DEEPEST = 200
"""Largest depth of nesting; the reader of datasets crashes at some ten thousand levels."""
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}


def check_json(path: Path) -> None:
    """Check that a file has nothing that would crash the reader of datasets.

    Raises:
        UsageError: A line is null, nested too deep, or not UTF-8.
    """
    try:
        lines = [b"".join(_lines(path))] if _is_whole(path) else _lines(path)
        for number, line in enumerate(lines, 1):
            if problem := _bad_text(line):  # the reader of datasets passes it on unchecked
                raise UsageError(f"{path}, line {number}: {problem}; mend it")
            if line.removeprefix(codecs.BOM_UTF8).strip().startswith(b"null"):
                raise UsageError(f"{path}, line {number}: null is not a JSON object; mend it")
            if line.count(b"[") + line.count(b"{") > DEEPEST and _depth(line) > DEEPEST:
                where = str(path) if _is_whole(path) else f"{path}, line {number}"
                raise UsageError(f"{where}: nested more than {DEEPEST} levels deep; mend it")
    except (OSError, EOFError, zlib.error):
        pass  # not a .gz file, or truncated: the loader raises its own error


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


def finite(value: Any) -> Any:
    """A value for a JSON file: None for NaN and infinity, which JSON does not have."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _depth(line: bytes) -> int:
    """Depth of nesting of a JSON text."""
    brackets = _TEXT.sub(b"", line).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _is_whole(path: Path) -> bool:
    """Whether a file holds one JSON value, rather than one on each line."""
    return path.name.endswith((".json", ".json.gz"))


def bad_line(path: Path) -> str | None:
    """The first line that is not a JSON object, and why; None if there is none.

    datasets gives a position in bytes, or nothing.
    """
    try:
        if _is_whole(path):
            try:
                json.loads(b"".join(_lines(path)))
            except json.JSONDecodeError as error:
                if not error.msg.startswith("Extra data"):  # that is JSON Lines
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
        pass  # not a .gz file, or truncated: the loader's own message says so
    return None


def _lines(path: Path) -> Iterator[bytes]:
    with gzip.open(path) if path.name.endswith(".gz") else path.open("rb") as lines:
        yield from lines


def _bad_text(line: bytes) -> str | None:
    """Why a line is not UTF-8; None if it is."""
    try:
        line.decode("utf-8")
    except UnicodeDecodeError as error:
        return f"not UTF-8 ({error.reason} at byte {error.start + 1})"
    return None


def _bad_json(line: bytes) -> str | None:
    """Why a line is no JSON object; None if it is one or empty."""
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
