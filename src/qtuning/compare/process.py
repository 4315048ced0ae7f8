"""A process of a comparison: ``python -m qtuning.compare.process JOB.json``.

The result of the job is written to ``result.json`` in the folder of the job file, whole or not at
all.
"""

import json
import sys
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import disable_progress_bars

from .before import scores_of_rows, untrained_nll
from .cell import run
from .needed import SCORED, UNTRAINED
from .work import CELL, RESULT

_DOES = {CELL: run, UNTRAINED: untrained_nll, SCORED: scores_of_rows}


def main(arguments: list[str]) -> int:
    """Do the job whose file is the first argument; return the exit code."""
    path = Path(arguments[0])
    job: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bars()
    torch.set_num_threads(job["threads"])
    result = _DOES[job["does"]](job, path.parent)
    temporary = path.with_name(f".{RESULT}.tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path.with_name(RESULT))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
