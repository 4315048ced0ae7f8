"""Train a vision-language model on the samples whose pictures count: ``python examples/images.py``.

One row in five is answered by looking at its picture; of the others the text has the answer. Full
data, random pruning, Q-Tuning and ``image-gain`` train on as many samples each, three seeds each.
Everything runs on a CPU in a few minutes; no network is used.
"""

import argparse
import json
import logging
import statistics
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import datasets
import torch
import transformers
from datasets import Dataset
from image_world import COLOURS, model, processor, rows
from rich.console import Console
from rich.table import Table

from qtuning import QTuningConfig, QTuningTrainer, read_ledger
from qtuning.run.record import BUDGET_FILE

METHODS: dict[str, dict[str, Any]] = {
    "full": {"sample_ratio": 1.0},
    "random": {"sample_pruner": "random"},
    "q-tuning": {"sample_pruner": "q-tuning"},
    "image-gain": {"sample_pruner": "image-gain"},
}
KEPT, POOL, LOOKING = 8, 4, 0.2
"""Samples a step trains on, candidates for each of them, share that is answered by looking."""
WARM_UP = 70
"""Steps on all data before the methods part: until a model sees, no picture tells it anything."""


def train(name: str, seed: int, n_steps: int, made: Any, data: Dataset, folder: Path) -> Any:
    """The trainer of a method after its run.

    Args:
        name: One of ``METHODS``.
        seed: The seed.
        n_steps: Optimizer steps.
        made: The model, which is trained on.
        data: The rows.
        folder: Folder for the ledger and the budget.
    """
    pool = 1 if name == "full" else POOL
    trainer = QTuningTrainer(
        made,
        QTuningConfig(
            str(folder),
            **{"sample_ratio": 1 / pool, **METHODS[name]},
            token_ratio=1.0,
            pool_factor=pool,
            per_device_train_batch_size=KEPT,
            max_steps=n_steps,
            max_length=None,
            learning_rate=2e-3,
            lr_scheduler_type="constant",
            seed=seed,
            save_strategy="no",
            report_to="none",
            logging_strategy="no",
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            disable_tqdm=True,
        ),
        train_dataset=data,
        processing_class=processor(),
    )
    with redirect_stdout(StringIO()):  # what each run says of its budget
        trainer.train()
    return trainer


def right(trainer: Any, test: Dataset) -> float:
    """Share of held-out questions whose colour the model gives, among all colours."""
    tokenizer = trainer.processing_class.tokenizer
    names = tokenizer.convert_tokens_to_ids(list(COLOURS))
    batch = trainer.data_collator([dict(row) for row in test.remove_columns("id")])
    labels = batch.pop("labels")
    at = (labels != -100).int().argmax(1)
    with torch.no_grad():
        logits = trainer.model.eval()(**batch).logits[torch.arange(len(at)), at - 1]
    said = torch.tensor(names)[logits[:, names].argmax(1)]
    return float((said == labels[torch.arange(len(at)), at]).float().mean())


def main() -> None:
    """Train all methods with all seeds, and print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=50, help="optimizer steps of a run")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each method")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    datasets.disable_progress_bars()
    logging.getLogger("qtuning").setLevel(logging.ERROR)
    table = Table("method", "right, by looking", "right, by reading", "kept that need looking")
    table.add_column("tokens scored")
    table.add_column("tokens trained on")
    tests = [rows(200, looking, seed=1) for looking in (1.0, 0.0)]
    columns: dict[str, list[list[float]]] = {name: [[] for _ in range(5)] for name in METHODS}
    for seed in range(options.seeds):
        data = rows(1024, LOOKING, seed=100 + seed)
        with tempfile.TemporaryDirectory() as folder:
            fresh = model(processor().tokenizer, seed)
            warm = train("full", seed, WARM_UP, fresh, data, Path(folder)).model.state_dict()
        for name in METHODS:
            with tempfile.TemporaryDirectory() as folder:
                begun = model(processor().tokenizer, seed)
                begun.load_state_dict(warm)
                trainer = train(name, 1000 + seed, options.steps, begun, data, Path(folder))
                budget = json.loads((Path(folder) / BUDGET_FILE).read_text())
                ledger = read_ledger(folder).to_pydict()
            pairs = zip(ledger["sample_id"], ledger["kept"], strict=True)
            kept = [sample for sample, is_kept in pairs if is_kept]
            looks = sum(sample.startswith("look") for sample in kept) / len(kept)
            scored, trained = budget["scored_tokens"], budget["trained_tokens"]
            values = (right(trainer, tests[0]), right(trainer, tests[1]), looks)
            for column, value in zip(columns[name], (*values, scored, trained), strict=True):
                column.append(value)
    for name, (*shares, scored_tokens, trained_tokens) in columns.items():
        table.add_row(
            name,
            *(f"{statistics.mean(one):.0%} ± {statistics.pstdev(one):.0%}" for one in shares),
            *(f"{statistics.mean(one):,.0f}" for one in (scored_tokens, trained_tokens)),
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
