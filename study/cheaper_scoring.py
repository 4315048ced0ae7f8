"""The rows that the grid cheaper_scoring.yaml trains on, for ``qtuning score``.

    python study/cheaper_scoring.py runs/cheaper_scoring

The grid's first lines have the commands that follow.
"""

import json
import sys
from pathlib import Path

from qtuning.compare.grid import read_grid
from qtuning.compare.rows import training_rows

GRID = Path(__file__).with_suffix(".yaml")
COLUMNS = ("id", "prompt", "completion")


def main(folder: Path) -> None:
    """Write ``rows.jsonl`` into the folder, with the prompts as the grid's runs see them."""
    rows = {row["id"]: row for data in read_grid(GRID).data.values() for row in training_rows(data)}
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        json.dumps({name: row[name] for name in COLUMNS}, ensure_ascii=False)
        for row in rows.values()
    ]
    text = "".join(f"{line}\n" for line in lines)
    (folder / "rows.jsonl").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
