"""``qtuning inspect``: what ``qtuning train`` would train on, before a weight is loaded.

It takes all options of ``qtuning train``::

    qtuning inspect --model_name_or_path HuggingFaceTB/SmolLM2-135M-Instruct \
        --dataset_name data.jsonl --strict
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from trl import DatasetMixtureConfig, ScriptArguments

from ..errors import UsageError
from ..inspection.images import ImageRows, inspect_images
from ..inspection.inspect import Evaluation, inspect_rows
from ..inspection.prepare import ModelSource
from ..inspection.result import Inspection
from ..inspection.shown import RowsToShow
from ..inspection.terminal import show
from ..io.checks import check_new, check_output
from ..io.data import load_rows
from ..io.image_rows import has_images
from ..io.models import check_model
from .train_arguments import named_model, parse

_MOST_TOKENS = 2000
"""Tokens of a row on the page."""


@dataclass
class InspectArguments:
    """Arguments of ``qtuning inspect`` beside those of ``qtuning train``."""

    eval_dataset: str | None = field(
        default=None,
        metadata={
            "help": "A file, a folder or a Hub id whose rows must not be trained on; by default "
            "the test split, if --eval_strategy is on."
        },
    )
    load_model: bool = field(
        default=False,
        metadata={
            "help": "Load the model, rather than believe its config on how many embeddings it has."
        },
    )
    show: int = field(default=3, metadata={"help": "How many rows to show as tokens."})
    output: Path | None = field(
        default=None, metadata={"help": "A new HTML file to write, with the tokens of the rows."}
    )
    json: bool = field(default=False, metadata={"help": "Print JSON in place of tables."})
    strict: bool = field(
        default=False, metadata={"help": "Exit with 1 if there is an error among the findings."}
    )


def run(argv: Sequence[str]) -> int:
    """Print what would be trained on, and what is wrong with it.

    Returns:
        The exit code: 1 with ``--strict`` if an error is found, else 0.

    Raises:
        UsageError: An argument or the data are unusable.
    """
    script_args, training_args, model_args, dataset_args, options = parse(
        argv, InspectArguments, verb="inspect"
    )
    name = named_model(model_args)
    if options.show < 0:
        raise UsageError(f"--show must be at least 0, got {options.show}")
    if options.output is not None:
        check_output(options.output, ".html")
        check_new(options.output)
    check_model(name)
    source = ModelSource(
        name,
        revision=model_args.model_revision,
        # Older TRL has this option among the model's arguments, newer TRL among the trainer's.
        trust_remote_code={**vars(model_args), **vars(training_args)}["trust_remote_code"],
        load=options.load_model,
    )
    rows, where = load_rows(script_args, dataset_args, "train")
    to_show: RowsToShow | ImageRows
    if has_images(rows):
        is_evaluated = options.eval_dataset is not None or training_args.eval_strategy != "no"
        found, to_show = inspect_images(
            rows, where, source, training_args, is_evaluated=is_evaluated, show=options.show
        )
    else:
        evaluation = _evaluation(script_args, dataset_args, training_args, options.eval_dataset)
        found, to_show = inspect_rows(
            rows, where, source, training_args, evaluation=evaluation, show=options.show
        )
    code = _told(found, options)
    if options.output is not None:
        from ..reports.inspection import write_inspection

        rows_shown = to_show.in_order(_MOST_TOKENS)
        write_inspection(found, rows_shown, options.output, total=len(to_show.names))
    return code


def _told(found: Inspection, options: Any) -> int:
    """Print an inspection; returns the exit code."""
    if options.json:
        # In ASCII: a terminal would act on some characters of names and texts.
        print(json.dumps({"format": 1, **found.to_dict()}, indent=1, allow_nan=False))
    else:
        show(Console(highlight=False), found)
    return int(options.strict and found.count("error") > 0)


def _evaluation(
    script_args: Any, dataset_args: Any, training_args: Any, named: str | None
) -> Evaluation | None:
    """The data whose rows must not be trained on; None if there are none."""
    if named is not None:
        rows, where = load_rows(
            ScriptArguments(dataset_name=named), DatasetMixtureConfig(), "train"
        )
        return Evaluation(rows, where)
    if training_args.eval_strategy == "no":
        return None
    return Evaluation(*load_rows(script_args, dataset_args, "test"))
