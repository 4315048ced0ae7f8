"""LLaMA-Factory's own training, pruned: ``qtuning llamafactory train config.yaml``.

Its config is read, checked and run by LLaMA-Factory. One class is substituted while it runs: the
trainer of its supervised fine-tuning, by a subclass that prunes.
"""

import io
import logging
import os
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import fields
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ..arguments import PruningArguments
from ..errors import UsageError, first_line
from ..training.cards import describe_folder
from . import torchrun
from .llamafactory_options import (
    Given,
    divided,
    gives,
    is_on,
    pruning_of,
    refuse_options,
    refuse_variables,
)
from .llamafactory_trainer import trainer_class

TRIED = "0.9.5"
"""The version of LLaMA-Factory that the integration was tried with."""

_SUBSTITUTED = "CustomSeq2SeqTrainer"
_KINDS = (
    *("ModelArguments", "DataArguments", "TrainingArguments"),
    *("FinetuningArguments", "GeneratingArguments"),
)


class _Theirs(NamedTuple):
    """The parts of LLaMA-Factory that are used."""

    hparams: Any
    misc: Any
    workflow: Any
    tuner: Any


def train(words: Sequence[str]) -> None:
    """Run LLaMA-Factory's training with pruning.

    Args:
        words: A YAML file and ``key=value`` beside it, or flags: LLaMA-Factory's options, and ours
            among them.

    Raises:
        UsageError: LLaMA-Factory is not there or does not start, an option is unknown, its value is
            refused, or LLaMA-Factory refuses the config.
        StoppedError: SIGTERM or Ctrl-C stopped training; a checkpoint is written.
    """
    refuse_variables(os.environ)
    theirs = _imported()
    n_devices = theirs.misc.get_device_count()
    if torchrun.is_wanted(os.environ, n_devices):
        _start_processes(n_devices, words)
    with _command_line(words):
        given = _read(theirs, words)
        known = {
            spec.name for name in _KINDS for spec in fields(vars(theirs.hparams)[name]) if spec.init
        }
        own, rest = divided(given, known, lenient=is_on(os.environ, "ALLOW_EXTRA_ARGS"))
        pruning = pruning_of(own, words)
        refuse_options(_parsed(theirs, rest))
        _run(theirs, pruning, rest)


def _imported() -> _Theirs:
    """The parts of LLaMA-Factory.

    Raises:
        UsageError: It is not installed, or another package hinders it.
    """
    try:
        found = version("llamafactory")
    except PackageNotFoundError as error:
        raise UsageError(
            f"LLaMA-Factory is not installed in this Python: pip install llamafactory=={TRIED}"
        ) from error
    if found != TRIED and os.environ.get(torchrun.LOCAL_RANK, "0") == "0":
        print(
            f"qtuning: LLaMA-Factory {found} was not tried with pruning, only {TRIED} was: compare "
            "a short run at sample_ratio 1.0 with `llamafactory-cli train`",
            file=sys.stderr,
        )
    try:
        from llamafactory import hparams
        from llamafactory.extras import misc
        from llamafactory.train import tuner
        from llamafactory.train.sft import workflow
    except ImportError as error:
        raise UsageError(
            f"LLaMA-Factory {found} cannot be imported ({first_line(error)}): see that "
            "`llamafactory-cli version` runs"
        ) from error
    if _SUBSTITUTED not in vars(workflow):
        raise UsageError(
            f"LLaMA-Factory {found} has no {_SUBSTITUTED} in its workflow, which is what prunes: "
            f"install {TRIED}"
        )
    return _Theirs(hparams, misc, workflow, tuner)


def _start_processes(n_devices: int, words: Sequence[str]) -> None:
    """Become the launcher of one process a device, so that signals reach it; never returns."""
    with socket.socket() as free:
        free.bind(("", 0))
        port = free.getsockname()[1]
    if is_on({"OPTIM_TORCH": "1", **os.environ}, "OPTIM_TORCH"):  # LLaMA-Factory's launcher does
        os.environ["PYTORCH_CUDA_ALLOC_CONF"] = "expandable_segments:True"
        os.environ["TORCH_NCCL_AVOID_RECORD_STREAMS"] = "1"
    command = torchrun.command(os.environ, n_devices, port, ["llamafactory", "train", *words])
    sys.stdout.flush()
    os.execv(command[0], command)


@contextmanager
def _command_line(words: Sequence[str]) -> Iterator[None]:
    """LLaMA-Factory reads its options there."""
    before = sys.argv
    sys.argv = ["llamafactory-cli", *words]
    try:
        yield
    finally:
        sys.argv = before


def _read(theirs: _Theirs, words: Sequence[str]) -> Given:
    """The options as LLaMA-Factory reads them.

    Raises:
        UsageError: There are none, or the config file cannot be read.
    """
    if not words:
        raise UsageError("no config: qtuning llamafactory train config.yaml [key=value ...]")
    if words[0].endswith(".json"):
        raise UsageError(f"{words[0]}: LLaMA-Factory {TRIED} cannot read JSON; write it as YAML")
    try:
        given: Given = theirs.hparams.read_args()
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise UsageError(f"{words[0]}: the config cannot be read ({first_line(error)})") from error
    return given


def _parsed(theirs: _Theirs, rest: Given) -> dict[str, Any]:
    """The values of LLaMA-Factory's options, which it parses and checks once more when it runs.

    Raises:
        UsageError: It refuses them, or a package is missing that they need.
    """
    said = io.StringIO()  # an unknown flag makes it print all that there are
    logger = logging.getLogger(theirs.hparams.get_train_args.__module__)
    level = logger.level
    logger.setLevel(logging.ERROR)  # the rest it says when it runs
    try:
        with redirect_stdout(said), redirect_stderr(said):
            parsed = theirs.hparams.get_train_args(rest)
    except SystemExit as error:
        why = said.getvalue().strip().rpartition("error: ")[2]
        raise UsageError(f"LLaMA-Factory: {why}") from error
    except (ValueError, TypeError, AssertionError, OSError, ImportError) as error:
        raise UsageError(f"LLaMA-Factory: {first_line(error)}") from error
    finally:
        logger.setLevel(level)
    return {name: value for part in parsed for name, value in vars(part).items()}


def _run(theirs: _Theirs, pruning: PruningArguments, rest: Given) -> None:
    """Run LLaMA-Factory with the class that prunes in the place of its own.

    Raises:
        UsageError: It finds something unusable before a trainer is there.
    """
    stock = vars(theirs.workflow)[_SUBSTITUTED]
    made: list[Any] = []
    named = gives(rest, "resume_from_checkpoint")
    pruned = trainer_class(stock, pruning, named=named, when_made=made.append)
    vars(theirs.workflow)[_SUBSTITUTED] = pruned
    try:
        theirs.tuner.run_exp(rest)
    except UsageError:
        raise
    except (ValueError, OSError) as error:
        if made:
            raise
        why = "" if error.__cause__ is None else f" ({first_line(error.__cause__)})"
        raise UsageError(f"LLaMA-Factory: {first_line(error)}{why}") from error
    finally:
        vars(theirs.workflow)[_SUBSTITUTED] = stock
    for trainer in made:
        if trainer.is_world_process_zero():
            describe_folder(Path(trainer.args.output_dir))
