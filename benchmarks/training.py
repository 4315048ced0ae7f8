"""One measured training run: a warm-up of one optimizer step, then the counted steps."""

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import process
import subjects
from cases import Case
from datasets import Dataset
from forward import IGNORED, as_in_training, batches_by_length
from peft import LoraConfig
from torch import nn
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from qtuning import QTuningConfig, QTuningTrainer
from qtuning.core.stats import sample_stats
from qtuning.precision import use_bf16
from qtuning.run.ledger import FOLDER, Ledger, LedgerRow
from qtuning.signals.forward import causal_lm_of, model_token_stats
from qtuning.step.work import StepCounts

LORA: dict[str, Any] = {"r": 8, "lora_alpha": 16, "target_modules": "all-linear"}


class Unknown(Exception):
    """The installed version of the library has no such option."""


class ForwardsAndBackwards:
    """A mixin for trainer classes that times forward and backward passes."""

    passes_seconds = 0.0

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Run the trainer's training step, and add its time to ``passes_seconds``."""
        started = time.perf_counter()
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        self.passes_seconds += time.perf_counter() - started
        return loss


class TimedStock(ForwardsAndBackwards, SFTTrainer):
    """TRL's trainer with timed passes."""


class TimedPruning(ForwardsAndBackwards, QTuningTrainer):
    """The trainer of qtuning with timed passes."""


class PaddedTokens:
    """A counter of the tokens through the backbone, padding included."""

    def __init__(self, backbone: nn.Module) -> None:
        """Hook a backbone, whose tokens are counted from here on."""
        self.training = self.scoring = 0
        backbone.register_forward_pre_hook(self._count, with_kwargs=True)

    def _count(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        ids = kwargs.get("input_ids", args[0] if args else None)
        size = 0 if ids is None else ids.numel()
        if module.training:
            self.training += size
        else:
            self.scoring += size


class Clock(TrainerCallback):
    """A callback that measures wall-clock and CPU time of the optimizer steps of a run."""

    seconds = cpu_seconds = 0.0

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """Start the clock."""
        self._started, self._cpu_started = time.perf_counter(), time.process_time()

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """Record the time up to the end of this step."""
        self.seconds = time.perf_counter() - self._started
        self.cpu_seconds = time.process_time() - self._cpu_started


def settings_of(case: Case, output: Path) -> dict[str, Any]:
    """Return the arguments of all trainers of a case; other arguments have their defaults."""
    return {
        "output_dir": str(output),
        "per_device_train_batch_size": case.method.batch or case.setting.batch,
        "gradient_accumulation_steps": case.setting.accumulation,
        "num_train_epochs": 1,
        "max_length": case.setting.max_length,
        "bf16": use_bf16(None, use_cpu=True),
        "use_cpu": True,
        "gradient_checkpointing": False,
        "train_sampling_strategy": "sequential",  # the rows are in random order
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": 0,
    }


def candidates_a_step(case: Case) -> int:
    """Return the number of candidates of an optimizer step."""
    batch = case.method.batch or case.setting.batch
    factor = case.method.options.get("pool_factor", 1)
    return int(batch * case.setting.accumulation * factor)


def tokenised(case: Case, model: Any, tokenizer: Any, rows: Dataset, output: Path) -> list[Any]:
    """Tokenise rows as the stock trainer does."""
    config = SFTConfig(**settings_of(case, output))
    trainer = SFTTrainer(model, config, train_dataset=rows, processing_class=tokenizer)
    if len(trainer.train_dataset) != len(rows):
        raise RuntimeError("some rows have no answer within max_length; choose a larger one")
    return list(trainer.train_dataset)


def check_switches(case: Case) -> None:
    """Check that the library has the options of a case.

    Raises:
        Unknown: ``QTuningConfig`` lacks an option of the case.
    """
    options = set(case.method.options)
    options |= {"initial_scores"} if case.method.earlier_scores else set()
    options |= {"scorer_model_name_or_path"} if case.method.small_scorer else set()
    absent = options - {field.name for field in dataclasses.fields(QTuningConfig)}
    if absent:
        raise Unknown(f"QTuningConfig has no {', '.join(sorted(absent))}")


def measure(case: Case, folder: Path | None, data: Path | None, output: Path) -> dict[str, Any]:
    """Train as the case says; return counts, times and memory, for JSON.

    The trainer trains twice: one optimizer step on short rows, which allocates the optimizer's
    state, and then the counted steps.

    Args:
        case: The case to measure.
        folder: Folder of SmolLM2, if the case needs it.
        data: Folder of the data sets; None generates rows.
        output: Folder for the files of the run.
    """
    setting, method = case.setting, case.method
    options = dict(method.options)
    n_warm_up = candidates_a_step(case)
    warm_up, counted = subjects.rows(case, data, n_warm_up)
    model, tokenizer = subjects.load(setting, folder)
    loaded_mib = process.resident()
    earlier: dict[str, Any] = {}
    if method.small_scorer:
        assert folder is not None
        options["scorer_model_name_or_path"] = str(subjects.small_scorer(folder))
    if method.earlier_scores:
        options["initial_scores"] = str(output / "earlier")
        rows = tokenised(case, model, tokenizer, counted, output)
        earlier = score_earlier(model, rows, counted["id"], setting.batch, output / "earlier")

    common = settings_of(case, output)
    pruning = method.kind == "pruning"
    trainer_class: Any = TimedPruning if pruning else TimedStock
    trainer = trainer_class(
        model,
        QTuningConfig(**common, **options) if pruning else SFTConfig(**common),
        train_dataset=Dataset.from_list([*warm_up, *counted]),
        processing_class=tokenizer,
        peft_config=lora() if setting.tuning == "lora" else None,
    )
    all_rows = trainer.train_dataset
    if len(all_rows) != n_warm_up + setting.rows:
        raise RuntimeError("some rows have no answer within max_length; choose a larger one")
    trainer.train_dataset = all_rows.select(range(n_warm_up))
    trainer.train()

    padded_tokens = PaddedTokens(causal_lm_of(trainer.model).base_model)
    trainer.train_dataset = all_rows.select(range(n_warm_up, len(all_rows)))
    trainer.args.num_train_epochs = setting.epochs
    trainer.passes_seconds = 0.0
    clock = Clock()
    trainer.add_callback(clock)
    resting_mib, peak_reset = process.resident(), process.forget_peak()
    trainer.train()
    peak_mib = process.peak()

    weights = list(trainer.model.parameters())
    return {
        "seconds": clock.seconds,
        "cpu_seconds": clock.cpu_seconds,
        "passes_seconds": trainer.passes_seconds,
        "counts": read_counts(output) if pruning else count_stock(trainer),
        "padded": {"trained": padded_tokens.training, "scored": padded_tokens.scoring},
        "memory_mib": {
            "loaded": loaded_mib,
            "resting": resting_mib,
            "peak": peak_mib,
            "peak_is_of_counted_steps": peak_reset,
        },
        "parameters": sum(weight.numel() for weight in weights),
        "trainable": sum(weight.numel() for weight in weights if weight.requires_grad),
        **earlier,
    }


def lora() -> LoraConfig:
    """Return the adapter's config, the same for all LoRA settings."""
    return LoraConfig(**LORA, task_type="CAUSAL_LM")


def read_counts(output: Path) -> dict[str, float]:
    """Read the counts of the last run of qtuning's trainer."""
    counts: dict[str, float] = json.loads((output / "budget.json").read_text())
    return counts


def count_stock(trainer: SFTTrainer) -> dict[str, float]:
    """Compute the counts of a run for the stock trainer, which trains on all candidates."""
    rows = list(trainer.train_dataset)
    epochs = int(trainer.args.num_train_epochs)
    tokens = epochs * sum(len(row["input_ids"]) for row in rows)
    answers = epochs * sum(label != IGNORED for row in rows for label in row["labels"][1:])
    counts = StepCounts(
        steps=trainer.state.global_step,
        samples=epochs * len(rows),
        kept_samples=epochs * len(rows),
        answer_tokens=answers,
        kept_answer_tokens=answers,
        input_tokens=tokens,
        trained_tokens=tokens,
    )
    return counts.state_dict()


def score_earlier(
    model: Any, rows: list[Any], ids: list[str], size: int, folder: Path
) -> dict[str, Any]:
    """Score rows once, and write the scores as a ledger; return the seconds."""
    started = time.perf_counter()
    order = sorted(range(len(rows)), key=lambda i: -len(rows[i]["input_ids"]))
    batches = batches_by_length(rows, size)
    scores: list[tuple[float, float, int]] = []
    with as_in_training(model):
        for batch in batches:
            statistics = sample_stats(model_token_stats(model, batch))
            scores += zip(*(values.tolist() for values in statistics), strict=True)
    with Ledger.start(folder / FOLDER) as ledger:
        ledger.append(
            LedgerRow(0, 1, str(ids[i]), ppl, entropy, int(n), 0, False, False, 0, True)
            for i, (ppl, entropy, n) in zip(order, scores, strict=True)
        )
    model.train()
    return {"earlier_scores_seconds": time.perf_counter() - started}
