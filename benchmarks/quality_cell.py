"""One cell of the quality study, in a process of its own: train, then evaluate.

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
from datasets import Dataset
from peft import LoraConfig
from quality_data import Row, test_rows, training_rows
from quality_evaluate import held_out_nll, solved
from quality_numbers import pack_bits
from quality_study import Setting, digest

from qtuning import QTuningConfig, QTuningTrainer, read_ledger
from qtuning.models import load_causal_lm, load_tokenizer


def main() -> int:
    """Run the job named on the command line."""
    path = Path(sys.argv[1])
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    datasets.disable_progress_bars()
    warnings.filterwarnings("ignore", category=FutureWarning)
    result = run(json.loads(path.read_text()), path.parent)
    (path.parent / "result.json").write_text(json.dumps(result, indent=1) + "\n")
    return 0


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train as the job says, with the run's own files in ``folder/run``; returns the figures."""
    setting, data = Setting.of(job["setting"]), Path(job["data"])
    started = time.perf_counter()
    rows, _ = training_rows(data, setting)
    trainer = make_trainer(
        setting,
        job["model"],
        rows,
        test_rows(data, setting, setting.nll_rows),
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
    result["held_out"] = held_out_nll(trainer)
    if setting.solve_rows:
        result["task"] = solved(trainer, test_rows(data, setting, setting.solve_rows))
    result["seconds"] = {
        "load_and_train": trained - started,
        "evaluate": time.perf_counter() - trained,
    }
    return result


def make_trainer(
    setting: Setting, model: str, rows: list[Row], test: list[Row], **config: Any
) -> QTuningTrainer:
    """A trainer with the setting's hyperparameters; ``config`` adds to or replaces them."""
    transformers.set_seed(config.get("seed", 0))  # the adapter's weights are drawn
    lora = None
    if setting.lora_rank is not None:
        lora = LoraConfig(
            r=setting.lora_rank,
            lora_alpha=2 * setting.lora_rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
    settings: dict[str, Any] = {
        "num_train_epochs": setting.epochs,
        "per_device_train_batch_size": setting.batch,
        "gradient_accumulation_steps": setting.accumulation,
        "learning_rate": setting.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "max_length": setting.max_length,
        "bf16": True,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return QTuningTrainer(
        load_causal_lm(model),
        QTuningConfig(**(settings | config)),
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(test),
        processing_class=load_tokenizer(model),
        peft_config=lora,
    )


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


if __name__ == "__main__":
    sys.exit(main())
