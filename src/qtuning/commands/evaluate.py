"""``qtuning evaluate``: benchmark tasks, held-out answer NLL and calibration of a model."""

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from transformers import PreTrainedModel, PreTrainedTokenizerBase
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments

from ..errors import UsageError
from ..evaluation.harness import Score, check_tasks, run_tasks
from ..evaluation.held_out import HeldOut, held_out
from ..evaluation.local_tasks import local_tasks
from ..io.checks import check_output
from ..io.data import load_data
from ..io.extras import need
from ..io.json_files import read_object
from ..io.model_folder import check_safetensors
from ..io.models import check_model, load_causal_lm, load_tokenizer
from ..io.paths import path_of
from ..training.config import QTuningConfig
from ..training.trainer import QTuningTrainer
from .parser import OneLineParser

_ADAPTER = "adapter_config.json"
# What peft raises for a config or weights that it cannot use.
_ADAPTING = (OSError, ValueError, TypeError, RuntimeError, LookupError, AttributeError, ImportError)


@dataclass
class EvaluateArguments:
    """What to evaluate on."""

    tasks: list[str] = field(
        default_factory=list,
        metadata={
            "help": "Tasks of lm-evaluation-harness by name (arc_easy gsm8k ...), which come from "
            f"a hub, and tasks over local files: {', '.join(local_tasks())}."
        },
    )
    data_dir: Path | None = field(
        default=None, metadata={"help": "Folder in which local tasks find <data set>/test.jsonl."}
    )
    limit: int | None = field(
        default=None, metadata={"help": "First so many questions of each task only."}
    )
    num_fewshot: int | None = field(
        default=None, metadata={"help": "Examples in the prompt, in place of the task's own."}
    )
    batch_size: int = field(default=8, metadata={"help": "Questions, or held-out rows, at a time."})
    apply_chat_template: bool = field(
        default=False, metadata={"help": "Put prompts into the tokenizer's chat template."}
    )
    max_length: int = field(
        default=1024, metadata={"help": "Tokens at which a held-out row is cut."}
    )
    output: Path | None = field(default=None, metadata={"help": "Write the figures here, as JSON."})


def run(argv: Sequence[str]) -> None:
    """Evaluate; held-out figures are of the test split of ``--dataset_name``, if there is one.

    Raises:
        UsageError: Unusable arguments, model, tasks or data.
    """
    parser = OneLineParser(
        (ScriptArguments, EvaluateArguments, ModelConfig), prog="qtuning evaluate"
    )
    script_args, options, model_args = parser.parse_in_one_line(argv)
    if model_args.model_name_or_path is None:
        raise UsageError("no model: give --model_name_or_path a folder, a Hub id or a GGUF file")
    if not options.tasks and script_args.dataset_name is None:
        raise UsageError("nothing to evaluate on: give --tasks, or --dataset_name of held-out rows")
    # Before the tasks, which take long, a place to write to.
    if options.output is not None:
        check_output(options.output, None)
    if options.tasks:
        check_tasks(options.tasks, options.data_dir)
    model, tokenizer = load(model_args)
    figures: dict[str, Any] = {"model": model_args.model_name_or_path}
    scores: list[Score] = []
    held: HeldOut | None = None
    if script_args.dataset_name is not None:
        held = _held_out(model, tokenizer, script_args, options)
        figures["held_out"] = held.to_dict()
    if options.tasks:
        scores = run_tasks(
            model,
            tokenizer,
            options.tasks,
            data_dir=options.data_dir,
            limit=options.limit,
            num_fewshot=options.num_fewshot,
            batch_size=options.batch_size,
            apply_chat_template=options.apply_chat_template,
        )
        figures["tasks"] = [score.to_dict() for score in scores]
    Console().print(table(scores, held))
    if options.output is not None:
        options.output.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")


def load(model_args: ModelConfig) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer; of a PEFT adapter's folder the base that it names, with the adapter."""
    name: str = model_args.model_name_or_path
    options = {
        "revision": model_args.model_revision,
        "trust_remote_code": bool(vars(model_args).get("trust_remote_code", False)),
    }
    adapter = path_of(name, "--model_name_or_path")
    is_adapter = (adapter / _ADAPTER).is_file() and not (adapter / "config.json").is_file()
    base = name
    if is_adapter:
        need(f"{name}: an adapter", "peft", "peft")
        try:
            base = str(read_object(adapter / _ADAPTER)["base_model_name_or_path"])
        except KeyError as error:
            raise UsageError(f"{adapter / _ADAPTER}: names no base model ({error})") from error
        if not (adapter / "adapter_model.safetensors").is_file():
            raise UsageError(f"{name}: no adapter_model.safetensors in the folder")
        check_safetensors(adapter / "adapter_model.safetensors")
    check_model(base)
    model = load_causal_lm(base, dtype=model_args.dtype, **options)
    tokenizer = load_tokenizer(base, **options)
    if is_adapter:
        from peft import PeftModel

        try:
            model = PeftModel.from_pretrained(model, str(adapter))
        except _ADAPTING as error:
            why = " ".join(str(error).split())[:300]
            raise UsageError(f"{name}: the adapter does not fit its base ({why})") from error
    return model, tokenizer


def _held_out(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    script_args: ScriptArguments,
    options: EvaluateArguments,
) -> HeldOut:
    """Rows are prepared as ``qtuning train`` would."""
    _, rows = load_data(
        script_args,
        DatasetMixtureConfig(),
        with_test=True,
        chat=tokenizer.chat_template is not None,
    )
    with tempfile.TemporaryDirectory() as scratch:
        args = QTuningConfig(
            output_dir=scratch,
            bf16=False,
            report_to="none",
            gradient_checkpointing=False,
            max_length=options.max_length,
            per_device_eval_batch_size=options.batch_size,
        )
        trainer = QTuningTrainer(model, args, train_dataset=rows, processing_class=tokenizer)
        return held_out(trainer, trainer.train_dataset)


def table(scores: Sequence[Score], held: HeldOut | None) -> Table:
    """All figures with their standard errors."""
    made = Table(title="Evaluation", title_justify="left")
    made.add_column("task")
    made.add_column("metric")
    for column in ("value", "standard error", "questions"):
        made.add_column(column, justify="right")
    if held is not None:
        nll = (f"{held.nll:.4f}", f"{held.stderr:.4f}")
        made.add_row("held-out rows", "answer NLL (nats a token)", *nll, f"{held.rows:,}")
        calibration = f"{held.calibration_error:.4f}"
        made.add_row("held-out rows", "expected calibration error", calibration, "", "")
        made.add_row("held-out rows", "token accuracy", f"{held.accuracy:.4f}", "", "")
    for score in scores:
        how = "" if score.filter == "none" else f", {score.filter}"
        stderr = "" if score.stderr is None else f"{score.stderr:.4f}"
        made.add_row(
            f"{score.task} (version {score.version})",
            f"{score.metric}{how}",
            f"{score.value:.4f}",
            stderr,
            f"{score.n:,}",
        )
    return made
