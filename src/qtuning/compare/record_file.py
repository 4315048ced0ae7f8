"""The file of a cell that is done, read back."""

import json
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

from ..errors import UsageError

_NUMBERS = {
    "held_out": ("nll", "calibration_error"),
    "cost": ("samples", "answer_tokens", "compute"),
    "counts": ("total_seconds",),
}


def read_record(path: Path) -> dict[str, Any]:
    """The record of a cell.

    Raises:
        UsageError: It is damaged.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _check(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path}: is damaged ({error}); remove it, and its cell is run again"
        ) from error
    found: dict[str, Any] = record
    return found


def _check(record: Any) -> None:
    """What tables and plots read."""
    _be(record, dict, "the record")
    _be(record["cell"], str, "cell")
    for group, names in _NUMBERS.items():
        if group in record:
            _be(record[group], dict, group)
            for name in names:
                _be(record[group][name], Real, name)
    tasks = record.get("tasks", [])
    _be(tasks, list, "tasks")
    for task in tasks:
        _be(task, dict, "a task")
        _be(task["value"], Real, "value")
        for name in ("task", "metric", "filter"):
            _be(task[name], str, name)
    kept = record.get("kept", [])
    _be(kept, list, "kept")
    for bits in kept:
        _be(bits, str, "kept of an epoch")
        int(bits, 16)
    quadrants = record.get("quadrants", [])
    _be(quadrants, list, "quadrants")
    for row in quadrants:
        _be(row, Mapping, "a quadrant")


def _be(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {str(value)[:40]!r}")
