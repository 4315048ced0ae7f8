"""The pruning options of a run, as its output folder has them on record."""

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from ..arguments import PruningArguments
from ..errors import UsageError
from .record import SETTINGS_FILE

_PRUNERS = ("sample_pruner", "token_pruner")
_RATIOS = ("sample_ratio", "token_ratio")


def read_settings(folder: Path) -> dict[str, Any] | None:
    """Read the fields of ``PruningArguments`` that a run pruned with.

    Args:
        folder: The run's output folder.

    Returns:
        The fields by name; those that a later version added are missing. None if the folder has
        no record of them.

    Raises:
        UsageError: The record is damaged.
    """
    path = folder / SETTINGS_FILE
    if not path.is_file():
        return None
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        for name in (*_PRUNERS, *_RATIOS):
            value = record[name]
            if name in _PRUNERS and not isinstance(value, str):
                raise TypeError(f"{name} is {value!r}")
            if name in _RATIOS and not 0.0 < value <= 1.0:
                raise ValueError(f"{name} is {value}")
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise UsageError(f"{path}: is damaged ({error}); remove it") from error
    return {one.name: record[one.name] for one in fields(PruningArguments) if one.name in record}
