"""``qtuning evaluate``: benchmark tasks, held-out answer NLL and calibration of a model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table
from trl import ModelConfig, ScriptArguments

from ..errors import UsageError
from ..evaluation.evaluate import evaluate
from ..evaluation.harness import Score
from ..evaluation.held_out import HeldOut
from ..evaluation.local_tasks import local_tasks
from ..io.checks import check_output
from .parser import OneLineParser


@dataclass
class EvaluateArguments:
    """Arguments of ``qtuning evaluate``: tasks, and how to run them."""

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
    batch_size: int | None = field(
        default=None,
        metadata={
            "help": "Questions, or held-out rows, at a time; by default 8, and on a GPU more "
            "held-out rows, see score."
        },
    )
    apply_chat_template: bool = field(
        default=False, metadata={"help": "Put prompts into the tokenizer's chat template."}
    )
    max_length: int = field(
        default=1024, metadata={"help": "Tokens at which a held-out row is cut."}
    )
    bf16: bool | None = field(
        default=None,
        metadata={
            "help": "Autocast forward passes to bfloat16; by default where the device multiplies "
            "it natively."
        },
    )
    output: Path | None = field(default=None, metadata={"help": "Write the figures here, as JSON."})


def run(argv: Sequence[str]) -> None:
    """Evaluate a model on tasks, and on the test split of ``--dataset_name`` if it is passed.

    Raises:
        UsageError: An argument, the model, a task or the data are unusable.
    """
    parser = OneLineParser(
        (ScriptArguments, EvaluateArguments, ModelConfig), prog="qtuning evaluate"
    )
    script_args, options, model_args = parser.parse_in_one_line(argv)
    if model_args.model_name_or_path is None:
        raise UsageError("no model: give --model_name_or_path a folder, a Hub id or a GGUF file")
    if not options.tasks and script_args.dataset_name is None:
        raise UsageError("nothing to evaluate on: give --tasks, or --dataset_name of held-out rows")
    # Checked before the tasks, which take long.
    if options.output is not None:
        check_output(options.output, None)
    evaluation = evaluate(
        model_args.model_name_or_path,
        data=script_args if script_args.dataset_name is not None else None,
        tasks=options.tasks,
        data_dir=options.data_dir,
        limit=options.limit,
        num_fewshot=options.num_fewshot,
        batch_size=options.batch_size,
        apply_chat_template=options.apply_chat_template,
        max_length=options.max_length,
        bf16=options.bf16,
        dtype=model_args.dtype,
        revision=model_args.model_revision,
        trust_remote_code=bool(vars(model_args).get("trust_remote_code", False)),
    )
    Console().print(table(evaluation.tasks, evaluation.held_out))
    if options.output is not None:
        text = json.dumps(evaluation.to_dict(), indent=1)
        options.output.write_text(text + "\n", encoding="utf-8")


def table(scores: Sequence[Score], held: HeldOut | None) -> Table:
    """Make a table of all figures with their standard errors."""
    figures = Table(title="Evaluation", title_justify="left")
    figures.add_column("task")
    figures.add_column("metric")
    for column in ("value", "standard error", "questions"):
        figures.add_column(column, justify="right")
    if held is not None:
        nll = (f"{held.nll:.4f}", f"{held.stderr:.4f}")
        figures.add_row("held-out rows", "answer NLL (nats a token)", *nll, f"{held.rows:,}")
        calibration = f"{held.calibration_error:.4f}"
        figures.add_row("held-out rows", "expected calibration error", calibration, "", "")
        figures.add_row("held-out rows", "token accuracy", f"{held.accuracy:.4f}", "", "")
    for score in scores:
        how = "" if score.filter == "none" else f", {score.filter}"
        stderr = "" if score.stderr is None else f"{score.stderr:.4f}"
        figures.add_row(
            f"{score.task} (version {score.version})",
            f"{score.metric}{how}",
            f"{score.value:.4f}",
            stderr,
            f"{score.n:,}",
        )
    return figures
