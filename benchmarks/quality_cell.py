"""One job of the quality study, in a process of its own: mostly a cell, trained and evaluated.

    python benchmarks/quality_cell.py runs/quality/<cell>/job.json

``quality.py`` writes the job and starts this; the result is ``result.json`` beside the job.
"""

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from quality_data import test_rows, training_rows
from quality_evaluate import held_out_nll, solved
from quality_numbers import pack_bits
from quality_prepare import make_small_model, score_once
from quality_study import Setting, digest
from quality_train import make_trainer

from qtuning import read_ledger


def main() -> int:
    """Run the job named on the command line."""
    path = Path(sys.argv[1])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)
    job = json.loads(path.read_text())
    result = JOBS[job["kind"]](job, path.parent)
    (path.parent / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


def run_cell(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train as the job says, with the run's own files in ``folder/run``; returns the figures."""
    setting, data = Setting.of(job["setting"]), Path(job["data"])
    started = time.perf_counter()
    rows, _ = training_rows(data, setting)
    trainer = make_trainer(
        setting,
        job["model"],
        rows,
        {setting.name: test_rows(data, setting, setting.nll_rows)},
        output_dir=str(folder / "run"),
        seed=job["seed"],
        **job["config"],
    )
    result: dict[str, Any] = {"torch_threads": torch.get_num_threads()}
    if job["trained"]:
        trainer.train()
        result["budget"] = json.loads((folder / "run" / "budget.json").read_text())
        result["decisions"] = decisions(folder / "run")
    trained = time.perf_counter()
    result["held_out"] = held_out_nll(trainer, setting.name)
    if setting.solve_rows:
        result["task"] = solved(trainer, test_rows(data, setting, setting.solve_rows))
    result["seconds"] = {
        "load_and_train": trained - started,
        "evaluate": time.perf_counter() - trained,
    }
    return result


def decisions(folder: Path) -> list[dict[str, Any]]:
    """The run's decisions by epoch: how many, a hash of the data's order, and bits of the kept."""
    by_epoch: dict[int, list[tuple[int, str, bool]]] = {}
    for row in read_ledger(folder).to_pylist():
        entry = (row["step"], row["sample_id"], row["kept"])
        by_epoch.setdefault(row["epoch"], []).append(entry)
    return [
        {
            "order": digest([entry[:2] for entry in entries]),
            "n": len(entries),
            "kept": pack_bits([kept for *_, kept in entries]),
        }
        for _, entries in sorted(by_epoch.items())
    ]


JOBS = {"cell": run_cell, "initial": score_once, "small": make_small_model}


if __name__ == "__main__":
    sys.exit(main())
