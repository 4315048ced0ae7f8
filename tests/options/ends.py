"""Runs of a case, and all that one leaves behind: equal ends are equal to the bit."""

import hashlib
import re
from copy import deepcopy
from dataclasses import fields, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from trainer_options import Case
from transformers import set_seed
from trl import SFTConfig, SFTTrainer

from qtuning import QTuningConfig, QTuningTrainer, UsageError

from .. import runs
from .scenes import SCENES

FULL = {"sample_ratio": 1.0, "token_ratio": 1.0}
HALF = {"sample_ratio": 0.5, "token_ratio": 0.5}
# An epoch has two steps, a run four: the checkpoint is in the middle of the last epoch.
SAVING = {"save_strategy": "steps", "save_steps": 3}
# What no two runs have alike.
_CLOCKS = re.compile(r"runtime|per_second|_mem_|^pruning/|^before_init")
# What TRL and transformers count anew in a run that goes on.
_SINCE_THE_START = re.compile(r"num_tokens$|^train_loss$")
_OF_ONE_KIND_OF_RUN = re.compile(r"^(pruning_|README|training_args|trainer_state)")


def make(kind: type, case: Case, folder: Path, **settings: Any) -> Any:
    """A trainer of the case, stock or ours; ``settings`` stand back behind those of the case."""
    made, of_scene = SCENES[case.scene](folder.parent)
    option = {} if case.option is None else {case.option: case.tried}
    settings = {**runs.SETTINGS, **settings, **of_scene, **case.beside, **option}
    if "activation_checkpointing" in settings:
        del settings["gradient_checkpointing"]
    # Of a copy: trainers write into dictionaries that they are given.
    settings = {name: _placed(value, folder.parent) for name, value in deepcopy(settings).items()}
    set_seed(42)
    if kind is SFTTrainer:
        return SFTTrainer(args=SFTConfig(str(folder), **settings), **made)
    return QTuningTrainer(args=QTuningConfig(str(folder), **settings), **made)


def _placed(value: Any, folder: Path) -> Any:
    return value.format(folder=folder) if isinstance(value, str) else value


def finish(trainer: Any, **how: Any) -> dict[str, Any]:
    """Train, evaluate if there is something to evaluate on, and say how it ended."""
    trainer.train(**how)
    if trainer.eval_dataset is not None:
        trainer.evaluate()
    return end(trainer)


def end(trainer: Any) -> dict[str, Any]:
    """All that a run leaves behind: history, state, checkpoints, and the bits of its weights."""
    state, folder = trainer.state, Path(trainer.args.output_dir)
    history = [
        {name: repr(value) for name, value in entry.items() if not _CLOCKS.search(name)}
        for entry in state.log_history
    ]  # as text, in which NaN is NaN
    return {
        "history": history,
        "weights": {name: _bits(weight) for name, weight in trainer.model.state_dict().items()},
        "step": state.global_step,
        "epoch": state.epoch,
        "tokens": state.num_input_tokens_seen,
        "operations": state.total_flos,
        "best": (state.best_metric, Path(state.best_model_checkpoint or "").name),
        "checkpoints": {
            checkpoint.name: sorted(
                path.name
                for path in checkpoint.iterdir()
                if not _OF_ONE_KIND_OF_RUN.match(path.name)
            )
            for checkpoint in folder.glob("checkpoint-*")
        },
    }


def _bits(weight: torch.Tensor) -> str:
    return hashlib.sha256(
        bytes(weight.detach().contiguous().view(torch.uint8).cpu().numpy())
    ).hexdigest()


def over_a_stop(how: dict[str, Any]) -> dict[str, Any]:
    """An end without what even a stock run counts anew, or does again, when it goes on."""
    history: list[dict[str, str]] = []
    for entry in how["history"]:
        lasting = {name: v for name, v in entry.items() if not _SINCE_THE_START.search(name)}
        if lasting not in history:  # eval_on_start evaluates at every start
            history.append(lasting)
    return {**how, "history": history}


def stop_and_resume(kind: type, case: Case, folder: Path, **settings: Any) -> dict[str, Any]:
    """How a run ends that is killed in the last epoch and goes on from its last checkpoint."""
    settings |= SAVING
    stopped = make(kind, case, folder, **settings)
    stopped.add_callback(runs.StopAfter(3))
    with pytest.raises(runs.Stop):
        stopped.train()
    stopped._memory_tracker.peak_monitoring = False  # else skip_memory_metrics leaves a thread
    return finish(make(kind, case, folder, **settings), resume_from_checkpoint=True)


_WITHOUT: dict[str, dict[str, Any]] = {}


def full(case: Case, folder: Path, **settings: Any) -> dict[str, Any]:
    """How stock and we end at ratio 1.0, and how stock ends without the option."""
    theirs = finish(make(SFTTrainer, case, folder / "stock", **settings))
    ours = finish(make(QTuningTrainer, case, folder / "ours", **settings, **FULL))
    key = repr((case.scene, case.beside))  # the same for many cases
    if case.alike is None:
        return {"theirs": theirs, "ours": ours}
    if key not in _WITHOUT:
        without = replace(case, option=None)
        _WITHOUT[key] = finish(make(SFTTrainer, without, folder / "without", **settings))
    return {"theirs": theirs, "ours": ours, "without": _WITHOUT[key]}


def half(case: Case, folder: Path, **settings: Any) -> dict[str, Any]:
    """How we end pruned, undisturbed and resumed."""
    settings |= HALF
    whole = finish(make(QTuningTrainer, case, folder / "whole", **settings, **SAVING))
    again = stop_and_resume(QTuningTrainer, case, folder / "again", **settings)
    return {"whole": over_a_stop(whole), "again": over_a_stop(again)}


def refused(case: Case, folder: Path) -> str:
    """What is said where a case is refused."""
    with pytest.raises(UsageError) as error:
        make(QTuningTrainer, case, folder / "ours", **HALF)
    return str(error.value)


def lacking(case: Case) -> str | None:
    """Why the case cannot be tried with the versions at hand; None if it can."""
    absent = {case.option, *case.beside} - {one.name for one in fields(SFTConfig)}
    if absent:
        return f"no {', '.join(sorted(absent))} in these versions"
    if case.needs is not None:
        wanted = Requirement(case.needs)
        if not wanted.specifier.contains(version(wanted.name), prereleases=True):
            return f"needs {case.needs}"
    return None
