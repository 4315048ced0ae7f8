"""One cell: trained and evaluated, in a process of its own."""

import json
import time
from pathlib import Path
from typing import Any

import torch
import transformers
from datasets import Dataset

from ..arguments import PruningArguments
from ..evaluation.exact_match import exact_match
from ..evaluation.harness import Score, run_tasks
from ..evaluation.held_out import held_out
from ..io.models import load_causal_lm, load_tokenizer
from ..precision import dtype_name
from ..pruners.pair import Pruners
from ..pruners.protocols import SAMPLE_EXTRAS
from ..run.ledger import read_ledger
from ..run.record import BUDGET_FILE
from ..training.config import QTuningConfig
from ..training.trainer import QTuningTrainer
from .agreement import kept_bits
from .data_ratio import RowSizes, rows_to_keep
from .grid import Data
from .made_with import default_use_cpu, versions
from .rows import Row, held_out_rows, training_rows

_HELD_OUT = "held_out"
_NEVER = 0.0  # of so many samples as a data set has none is scored again


def run(job: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Train and evaluate as the job says, with the run's files in ``folder/run``.

    Args:
        job: A cell whose paths and ratios are resolved, as plain data.
        folder: Folder of the cell.
    """
    data = Data.of(job["data"])
    started = time.perf_counter()
    rows, test = training_rows(data), held_out_rows(data)
    evaluated = {_HELD_OUT: test} if test else {}
    evaluated |= {_other(one.name): held_out_rows(one) for one in data.forgetting}
    trainer = make_trainer(job, data, rows, evaluated, folder / "run")
    result: dict[str, Any] = {
        "torch_threads": torch.get_num_threads(),
        "device": trainer.args.device.type,
        "precision": dtype_name(trainer.args.bf16, trainer.args.fp16),
        "versions": versions(data),
    }
    if job["train"]:
        result |= _trained(job, trainer, rows, data, folder / "run")
    trained = time.perf_counter()
    if test:
        result["held_out"] = held_out(trainer, trainer.eval_dataset[_HELD_OUT]).to_dict()
    if data.forgetting:
        result["forgetting"] = {
            name: {
                **held_out(trainer, trainer.eval_dataset[_other(name)]).to_dict(),
                "before": before,
            }
            for name, before in job["before"].items()
        }
    with trainer.accelerator.autocast():
        scores = _task_scores(job, trainer, data, test)
    if scores:
        result["tasks"] = [score.to_dict() for score in scores]
    result["seconds"] = {
        "load_and_train": trained - started,
        "evaluate": time.perf_counter() - trained,
    }
    return result


def _other(name: str) -> str:
    """The name of other rows among those evaluated; no setting can take the held-out rows' name."""
    return f"other rows, {name}"


def _trained(
    job: dict[str, Any], trainer: QTuningTrainer, rows: list[Row], data: Data, folder: Path
) -> dict[str, Any]:
    """Train; return counts and costs, and what was kept."""
    names = [row["id"] for row in rows]
    once = RowSizes.of(trainer) if job["scores"] or job["share_of_rows"] else None
    if job["share_of_rows"]:
        assert once is not None
        ratios = {"sample_ratio": job["share_of_rows"], "token_ratio": 1.0}
        args = PruningArguments(**{**job["pruning"], **ratios})
        scores = None if job["scores"] is None else Path(job["scores"])
        kept = rows_to_keep(names, once, args, job["seed"], scores)
        trainer.train_dataset = trainer.train_dataset.select(kept)
    trainer.train()
    counts = json.loads((folder / BUDGET_FILE).read_text(encoding="utf-8"))
    offered, scored_before = counts, 0
    if job["share_of_rows"]:
        assert once is not None
        epochs = float(trainer.args.num_train_epochs)
        offered = {
            "samples": epochs * sum(n > 0 for n in once.answer),
            "answer_tokens": epochs * sum(once.answer),
            "input_tokens": epochs * sum(once.input),
        }
    if job["scores"]:
        assert once is not None
        rule = Pruners.of(PruningArguments(**job["pruning"]))
        reads_alone = bool(rule.sample.needs & SAMPLE_EXTRAS)
        scored_before = sum(once.input) + (sum(once.alone) if reads_alone else 0)
    result = {
        "counts": counts,
        "cost": cost(counts, trainer, offered, scored_before),
        "kept": kept_bits(read_ledger(folder), names),
        "quadrants": by_quadrant(folder, rows, data.record),
    }
    return result | ({"scored_before_tokens": scored_before} if job["scores"] else {})


def _task_scores(
    job: dict[str, Any], trainer: QTuningTrainer, data: Data, test: list[Row]
) -> list[Score]:
    """Scores of the tasks of lm-evaluation-harness, and of the answers to held-out rows."""
    scores: list[Score] = []
    model, tokenizer = trainer.model, trainer.processing_class
    if data.tasks:
        evaluation = dict(job["evaluation"])
        if "data_dir" in evaluation:
            evaluation["data_dir"] = Path(evaluation["data_dir"])
        scores += run_tasks(
            model,
            tokenizer,
            data.tasks,
            limit=data.task_limit,
            with_hits=True,
            **evaluation,
        )
    if data.exact_match is not None:
        scores += exact_match(model, tokenizer, test, **data.exact_match)
    return scores


def make_trainer(
    job: dict[str, Any],
    data: Data,
    rows: list[Row],
    evaluated: dict[str, list[Row]],
    folder: Path,
) -> QTuningTrainer:
    """Make the trainer of a job, without checkpoints, reports and progress bars by default.

    Args:
        job: The job, with the path of its model.
        data: The data set.
        rows: The training rows.
        evaluated: Rows to evaluate on by name.
        folder: Output folder of the run.
    """
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
    pruning = dict(job["pruning"])
    if job["share_of_rows"]:  # the pruner's rule chooses rows before training
        pruning["sample_pruner"] = "random"
    elif job["scores"]:
        pruning |= {"initial_scores": job["scores"], "score_refresh": _NEVER}
    return QTuningTrainer(
        load_causal_lm(job["model"]),
        QTuningConfig(output_dir=str(folder), seed=job["seed"], **settings, **pruning),
        train_dataset=as_dataset(rows),
        eval_dataset={name: as_dataset(some) for name, some in evaluated.items()} or None,
        processing_class=load_tokenizer(job["model"]),
        peft_config=lora,
    )


def as_dataset(rows: list[Row]) -> Dataset:
    """The rows as a data set that a trainer tokenises."""
    columns = ("id", "prompt", "completion")
    return Dataset.from_list([{name: row[name] for name in columns} for row in rows])


def cost(
    counts: dict[str, float],
    trainer: QTuningTrainer,
    offered: dict[str, float],
    scored_before: int,
) -> dict[str, float]:
    """Compute the cost of a run, as shares of training on all rows.

    Args:
        counts: What the run did.
        trainer: The run's trainer.
        offered: Samples, answer tokens and input tokens of a run on all rows.
        scored_before: Input tokens of a scoring pass before the run.

    Returns:
        ``samples`` and ``answer_tokens``, the kept shares; ``compute``, scoring included, in which
        the forward pass of a token counts 1 and its training ``token_cost``; and ``token_cost``.
    """
    token_cost = trainer.token_cost
    scored = counts["scored_tokens"] + scored_before
    cost_units = scored + token_cost * counts["trained_tokens"]
    return {
        "samples": counts["kept_samples"] / offered["samples"],
        "answer_tokens": counts["kept_answer_tokens"] / offered["answer_tokens"],
        "compute": cost_units / (token_cost * offered["input_tokens"]),
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
