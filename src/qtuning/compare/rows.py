"""The rows of a comparison: which are trained on, and which are held out."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .grid import Data

Row = dict[str, Any]


def training_rows(data: Data) -> list[Row]:
    """The rows to train on, ``{"id", "prompt", "completion", "meta"}``, the same for every seed.

    A share of them have their completions shuffled among each other, if the data say so.
    ``meta["shuffled"]`` is true where another completion than its own came of it.
    """
    rows = _drawn(read_rows(data.train, data.prompt_end), data.train_rows, data.row_seed)
    draw = random.Random(f"shuffled {data.row_seed}")
    chosen = sorted(draw.sample(range(len(rows)), round(data.shuffled * len(rows))))
    # A cycle in random order: nobody keeps its own completion but by being equal to another.
    cycle = draw.sample(chosen, len(chosen))
    before = {place: rows[place]["completion"] for place in chosen}
    for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        rows[here]["completion"] = before[there]
    changed = {here for here in chosen if rows[here]["completion"] != before[here]}
    for place, row in enumerate(rows):
        row["meta"] = {**row["meta"], "shuffled": place in changed}
    return rows


def held_out_rows(data: Data) -> list[Row]:
    """The held-out rows, the same for every cell."""
    return _drawn(read_rows(data.held_out, data.prompt_end), data.held_out_rows, data.row_seed)


def _drawn(rows: list[Row], n: int | None, seed: int) -> list[Row]:
    random.Random(seed).shuffle(rows)
    return rows if n is None else rows[:n]


def read_rows(files: Sequence[str], prompt_end: str) -> list[Row]:
    """The rows of JSON Lines files, one file after the other.

    Raises:
        UsageError: A file or a line cannot be read.
    """
    rows = []
    for name in files:
        path = Path(name)
        try:
            # Not splitlines, which also splits at separators that JSON allows in a text.
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
