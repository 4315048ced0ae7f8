"""One cell, in a process of its own: ``python -m qtuning.compare.cell JOB.json``.

The job file holds a cell whose paths and ratios are resolved. The result is written to
``result.json`` in the folder of the job file, whole or not at all.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset, disable_progress_bars

from ..evaluation.harness import run_tasks
from ..evaluation.held_out import held_out
from ..io.models import load_causal_lm, load_tokenizer
from ..precision import dtype_name
from ..run.ledger import read_ledger
from ..run.record import BUDGET_FILE
from ..training.config import QTuningConfig
from ..training.trainer import QTuningTrainer
from .agreement import kept_bits
from .grid import Data
from .made_with import default_use_cpu, versions
from .rows import Row, held_out_rows, training_rows

RESULT = "result.json"


def main(arguments: list[str]) -> int:
    """Run the job whose file is the first argument; return the exit code."""
    path = Path(arguments[0])
    job: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    disable_progress_bars()
    if job["threads"] is not None:
        torch.set_num_threads(job["threads"])
    result = run(job, path.parent)
    temporary = path.with_name(f".{RESULT}.tmp")
    temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    temporary.replace(path.with_name(RESULT))
    return 0


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train and evaluate as the job says, with the run's files in ``folder/run``."""
    data = Data(**job["data"])
    started = time.perf_counter()
    rows, test = training_rows(data), held_out_rows(data)
    trainer = make_trainer(job, data, rows, test, folder / "run")
    result: dict[str, Any] = {
        "torch_threads": torch.get_num_threads(),
        "device": trainer.args.device.type,
        "precision": dtype_name(trainer.args.bf16, trainer.args.fp16),
        "versions": versions(data),
    }
    if job["train"]:
        trainer.train()
        counts = json.loads((folder / "run" / BUDGET_FILE).read_text(encoding="utf-8"))
        result["counts"] = counts
        result["cost"] = cost(counts, trainer)
        result["kept"] = kept_bits(read_ledger(folder / "run"), [row["id"] for row in rows])
        result["quadrants"] = by_quadrant(folder / "run", rows, data.record)
    trained = time.perf_counter()
    if test:
        result["held_out"] = held_out(trainer, trainer.eval_dataset).to_dict()
    if data.tasks:
        evaluation = dict(job["evaluation"])
        if "data_dir" in evaluation:
            evaluation["data_dir"] = Path(evaluation["data_dir"])
        with trainer.accelerator.autocast():
            scores = run_tasks(
                trainer.model,
                trainer.processing_class,
                data.tasks,
                limit=data.task_limit,
                with_hits=True,
                **evaluation,
            )
        result["tasks"] = [score.to_dict() for score in scores]
    result["seconds"] = {
        "load_and_train": trained - started,
        "evaluate": time.perf_counter() - trained,
    }
    return result


def make_trainer(
    job: dict[str, Any], data: Data, rows: list[Row], test: list[Row], folder: Path
) -> QTuningTrainer:
    """Make the trainer of a job, without checkpoints, reports and progress bars by default."""
    transformers.set_seed(job["seed"])  # the initial weights of an adapter are random
    lora = None
    if data.lora is not None:
        from peft import LoraConfig

        lora = LoraConfig(**{"task_type": "CAUSAL_LM", **data.lora})
    settings: dict[str, Any] = {
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "use_cpu": default_use_cpu(),
        **job["training"],
    }
    columns = ("id", "prompt", "completion")
    train_set, test_set = (
        Dataset.from_list([{name: row[name] for name in columns} for row in examples])
        for examples in (rows, test)
    )
    return QTuningTrainer(
        load_causal_lm(job["model"]),
        QTuningConfig(output_dir=str(folder), seed=job["seed"], **settings, **job["pruning"]),
        train_dataset=train_set,
        eval_dataset=test_set if test else None,
        processing_class=load_tokenizer(job["model"]),
        peft_config=lora,
    )


def cost(counts: dict[str, float], trainer: QTuningTrainer) -> dict[str, float]:
    """Compute the cost of a run, as shares of training on all candidates.

    Returns:
        ``samples`` and ``answer_tokens``, the kept shares; ``compute``, scoring included, in which
        the forward pass of a token counts 1 and its training ``token_cost``; and ``token_cost``.
    """
    token_cost = trainer.token_cost
    cost_units = counts["scored_tokens"] + token_cost * counts["trained_tokens"]
    return {
        "samples": counts["kept_samples"] / counts["samples"],
        "answer_tokens": counts["kept_answer_tokens"] / counts["answer_tokens"],
        "compute": cost_units / (token_cost * counts["input_tokens"]),
        "token_cost": token_cost,
    }


def by_quadrant(folder: Path, rows: list[Row], record: tuple[str, ...]) -> list[dict[str, Any]]:
    """Count candidates and tokens by epoch, quadrant, decision and the values of recorded keys."""
    meta = {row["id"]: row["meta"] for row in rows}
    counts: dict[tuple[Any, ...], list[int]] = {}
    for row in read_ledger(folder).to_pylist():
        values = tuple(meta[row["sample_id"]].get(key) for key in record)
        place = (row["epoch"], row["quadrant"], row["kept"], row["filled"], *values)
        entry = counts.setdefault(place, [0, 0, 0])
        entry[0] += 1
        entry[1] += row["n_tokens"]
        entry[2] += row["tokens_kept"]
    names = ("epoch", "quadrant", "kept", "filled", *record)
    totals = ("samples", "answer_tokens", "tokens_kept")
    return [
        dict(zip((*names, *totals), (*place, *entry), strict=True))
        for place, entry in sorted(counts.items(), key=lambda item: tuple(map(str, item[0])))
    ]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
