"""Inspections of rows made for a test."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset

import qtuning
from qtuning import QTuningConfig
from qtuning.inspection.result import Finding, Inspection

from .. import device

KEEPS_END = "truncation_mode" in {one.name for one in fields(QTuningConfig)}
"""Whether this TRL can cut the beginning of rows off."""

QUIET = {"bf16": False, "report_to": "none", "gradient_checkpointing": False}


def config(folder: Path, **options: Any) -> QTuningConfig:
    mode = options.pop("truncation_mode", None)
    if KEEPS_END and mode is not None:
        options["truncation_mode"] = mode
    elif mode == "keep_end":
        pytest.skip("this TRL cuts the ends of rows only")
    return QTuningConfig(str(folder), **{**QUIET, **device.arguments(), **options})


def inspected(
    folder: Path, rows: Any, model: Path, *, evaluation: Any = None, show: int = 3, **options: Any
) -> Inspection:
    """What is found in rows, with options of training."""
    data = Dataset.from_list(rows) if isinstance(rows, list) else rows
    if isinstance(evaluation, list):
        evaluation = Dataset.from_list(evaluation)
    args = config(folder, **options)
    return qtuning.inspect(data, model, args, eval_dataset=evaluation, show=show)


def finding(found: Inspection, name: str) -> Finding | None:
    """The finding of a name; None if there is none."""
    named = [one for one in found.findings if one.name == name]
    assert len(named) <= 1, name
    return named[0] if named else None


def pair(prompt: str, completion: str) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion}


def talk(*texts: str, system: str | None = None) -> dict[str, Any]:
    """A conversation of user and assistant in turns."""
    begin = [] if system is None else [{"role": "system", "content": system}]
    roles = ("user", "assistant")
    turns = [{"role": roles[i % 2], "content": text} for i, text in enumerate(texts)]
    return {"messages": [*begin, *turns]}


def tokens(ids: list[int], labels: list[int]) -> dict[str, Any]:
    return {"input_ids": ids, "labels": labels}
