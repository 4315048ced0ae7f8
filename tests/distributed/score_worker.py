"""`qtuning.score` under `accelerate launch`: score_worker.py FOLDER OUTPUT_FOLDER."""

import os
import sys
from pathlib import Path

from accelerate import PartialState

import qtuning

from .. import tiny


def main() -> None:
    folder, output = Path(sys.argv[1]), Path(sys.argv[2])
    how = {"model": folder / "model", "rows_per_part": 16, "progress": False}
    try:
        qtuning.score(tiny.dataset(40), **how)
        said = "nothing"
    except qtuning.UsageError as error:
        said = str(error)
    scored = qtuning.score(tiny.dataset(40), output=output / "s.parquet", **how)
    n = sum(value is not None for value in scored["ppl"])
    (output / f"rank{os.environ['RANK']}.txt").write_text(f"{said}\n{n}")
    PartialState().destroy_process_group()


if __name__ == "__main__":
    main()
