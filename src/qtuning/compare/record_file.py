"""The record file of a finished cell, read and checked."""

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
    """Read the record of a cell from its file.

    Raises:
        UsageError: The file cannot be read, or a field of the record is missing or has the wrong
            type.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        _check(record)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path}: is damaged ({error}); remove it, and its cell is run again"
        ) from error
    mapping: dict[str, Any] = record
    return mapping


def read_untrained(path: Path) -> dict[str, float]:
    """Read what an untrained model's record says: mean NLL (nats) and its standard error.

    Raises:
        UsageError: The file cannot be read, or a value is missing or has the wrong type.
    """
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        values = {name: record[name] for name in ("nll", "stderr")}
        for name, value in values.items():
            _check_type(value, Real, name)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(
            f"{path}: is damaged ({error}); remove it, and it is computed again"
        ) from error
    return values


def _check(record: Any) -> None:
    """Check the fields that are read of a record."""
    _check_type(record, dict, "the record")
    _check_type(record["cell"], str, "cell")
    for name in ("device", "precision"):
        _check_type(record.get(name, ""), str, name)
    versions = record.get("versions", {})
    _check_type(versions, dict, "versions")
    for version in versions.values():
        _check_type(version, str, "a version")
    for group, names in _NUMBERS.items():
        if group in record:
            _check_type(record[group], dict, group)
            for name in names:
                _check_type(record[group][name], Real, name)
    others = record.get("forgetting", {})
    _check_type(others, dict, "forgetting")
    for name, one in others.items():
        _check_type(one, dict, f"forgetting of {name}")
        _check_type(one["nll"], Real, "nll")
        _check_type(one["before"]["nll"], Real, "nll before")
    tasks = record.get("tasks", [])
    _check_type(tasks, list, "tasks")
    for task in tasks:
        _check_type(task, dict, "a task")
        _check_type(task["value"], Real, "value")
        for name in ("task", "metric", "filter"):
            _check_type(task[name], str, name)
    bits_by_epoch = record.get("kept", [])
    _check_type(bits_by_epoch, list, "kept")
    for bits in bits_by_epoch:
        _check_type(bits, str, "kept of an epoch")
        int(bits, 16)
    quadrants = record.get("quadrants", [])
    _check_type(quadrants, list, "quadrants")
    for row in quadrants:
        _check_type(row, Mapping, "a quadrant")


def _check_type(value: Any, kind: type, name: str) -> None:
    if not isinstance(value, kind):
        raise TypeError(f"{name} is {str(value)[:40]!r}")
