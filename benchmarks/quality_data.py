"""Rows of the quality study: which ones are trained on, and which are held out."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

from quality_study import Setting

Row = dict[str, str]

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


def read_rows(data: Path, names: Sequence[str], split: str) -> list[Row]:
    """Rows ``{"id", "prompt", "completion"}`` of the data sets, one after the other.

    The prompt ends with a line break, so that no token spans prompt and completion.
    """
    rows = []
    for name in names:
        for line in (data / name / f"{split}.jsonl").read_text(encoding="utf-8").splitlines():
            row = json.loads(line)
            rows.append(
                {
                    "id": str(row["id"]),
                    "prompt": row["prompt"] + "\n",
                    "completion": row["completion"],
                }
            )
    return rows


def training_rows(data: Path, setting: Setting) -> tuple[list[Row], list[Row]]:
    """The rows that the study trains on, and all others of the training files."""
    rows = read_rows(data, setting.datasets, "train")
    random.Random(setting.row_seed).shuffle(rows)
    return rows[: setting.rows], rows[setting.rows :]


def test_rows(data: Path, setting: Setting, n: int) -> list[Row]:
    """The first ``n`` rows of the shuffled test files, the same for every cell."""
    rows = read_rows(data, setting.datasets, "test")
    random.Random(setting.row_seed).shuffle(rows)
    return rows[:n]


def answer_number(text: str) -> float | None:
    """The number after ``####``, else the last one; None if there is none."""
    _, mark, after = text.partition("####")
    found = _NUMBER.findall(after if mark else text)
    if not found:
        return None
    return float((found[0] if mark else found[-1]).replace(",", ""))


def is_right(text: str, completion: str) -> bool:
    """Whether a generated text gives the completion's number."""
    ours, right = answer_number(text), answer_number(completion)
    return ours is not None and right is not None and abs(ours - right) < 1e-6
