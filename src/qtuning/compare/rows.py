"""The rows of a comparison: training rows and held-out rows."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .grid import Data
from .other_rows import OtherRows

Row = dict[str, Any]


def training_rows(data: Data) -> list[Row]:
    """Return the rows to train on, ``{"id", "prompt", "completion", "meta"}``, equal for all seeds.

    The completions of a share ``data.shuffled`` of the rows are shuffled among these rows.
    ``meta["shuffled"]`` is true for the rows whose completion differs from the original one.
    """
    rows = _drawn(read_rows(data.train, data.prompt_end), data.train_rows, data.row_seed)
    draw = random.Random(f"shuffled {data.row_seed}")
    places = sorted(draw.sample(range(len(rows)), round(data.shuffled * len(rows))))
    # A cycle in random order: a row keeps its completion only if another row has an equal one.
    cycle = draw.sample(places, len(places))
    completions = {place: rows[place]["completion"] for place in places}
    for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        rows[here]["completion"] = completions[there]
    shuffled_places = {here for here in places if rows[here]["completion"] != completions[here]}
    for place, row in enumerate(rows):
        row["meta"] = {**row["meta"], "shuffled": place in shuffled_places}
    return rows


def held_out_rows(data: Data | OtherRows) -> list[Row]:
    """Return the held-out rows of a data set, or of another one; equal for all cells."""
    return _drawn(read_rows(data.held_out, data.prompt_end), data.held_out_rows, data.row_seed)


def _drawn(rows: list[Row], n: int | None, seed: int) -> list[Row]:
    random.Random(seed).shuffle(rows)
    return rows if n is None else rows[:n]


def read_rows(files: Sequence[str], prompt_end: str) -> list[Row]:
    """Read the rows of JSON Lines files, one file after the other.

    Raises:
        UsageError: A file or a line cannot be read.
    """
    rows = []
    for name in files:
        path = Path(name)
        try:
            # Not splitlines: it also splits at line separators that JSON allows inside a string.
            lines = path.read_text(encoding="utf-8").split("\n")
        except (OSError, ValueError) as error:
            raise UsageError(f"{name}: cannot be read ({error}); check the path") from error
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                rows.append(_row(json.loads(line), f"{path.stem}-{number}", prompt_end))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
                raise UsageError(
                    f"{name}, line {number}: not an object with prompt and completion ({error})"
                ) from error
    return rows


def _row(row: Any, name: str, prompt_end: str) -> Row:
    if not isinstance(row["completion"], str) or not isinstance(row.get("meta", {}), dict):
        raise TypeError("completion is text, and meta an object")
    return {
        "id": str(row.get("id", name)),
        "prompt": row["prompt"] + prompt_end,
        "completion": row["completion"],
        "meta": row.get("meta", {}),
    }
