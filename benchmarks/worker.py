"""One measurement, in a process of its own so that its peak memory is its own.

    python benchmarks/worker.py job.json result.json

Kinds of methods:

- "stock": TRL's SFTTrainer on all candidates.
- "pruning": QTuningTrainer.
- "forward": the forward pass of all candidates as arithmetic alone, for the bound.
- "peak-backbone", "peak-scoring", "peak-logits": one forward pass of one batch, for its memory.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import transformers
from cases import Case

UNKNOWN = 3
"""Exit code if the library lacks an option of the case."""


def main() -> int:
    """Measure the job's case, and write the result; return the exit code."""
    job = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(job["threads"])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    import datasets

    datasets.disable_progress_bars()
    import training

    case = Case.from_dict(job["case"])
    folder = Path(job["model"]) if job["model"] else None
    data = Path(job["data"]) if job["data"] else None
    try:
        training.check_switches(case)
    except training.Unknown as unknown:
        print(unknown, file=sys.stderr)
        return UNKNOWN
    with tempfile.TemporaryDirectory() as output:
        result = measure(case, folder, data, Path(output))
    Path(sys.argv[2]).write_text(json.dumps(result))
    return 0


def measure(case: Case, folder: Path | None, data: Path | None, output: Path) -> dict[str, Any]:
    """Measure a case of any kind; return its figures."""
    import forward
    import subjects
    import training

    if case.method.kind in ("stock", "pruning"):
        return training.measure(case, folder, data, output)
    n = training.candidates_a_step(case)
    warm_up, counted = subjects.rows(case, data, n)
    model, tokenizer = subjects.load(case.setting, folder)
    rows = training.tokenised(case, model, tokenizer, counted, output)
    if case.method.kind != "forward":
        return forward.measure_peak(case.method.kind.removeprefix("peak-"), model, rows)
    short_rows = training.tokenised(case, model, tokenizer, warm_up, output)
    if case.setting.tuning == "lora":
        from peft import get_peft_model

        model = get_peft_model(model, training.lora())
    steps = [rows[i : i + n] for i in range(0, len(rows), n)]
    return forward.measure_speed(model, short_rows, steps, case.setting.batch)


if __name__ == "__main__":
    sys.exit(main())
