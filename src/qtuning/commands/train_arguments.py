"""The arguments of ``qtuning train``: those of TRL and qtuning, checked before loading."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments

from ..errors import UsageError
from ..io.extras import need
from ..io.models import check_model
from ..pruners.pair import Pruners
from ..run.initial_scores import check_initial_scores
from ..signals.other_models import REFERENCE_MODEL, SCORER
from ..training.config import QTuningConfig
from .installed import check_installed
from .parser import OneLineParser


def parse(argv: Sequence[str], *more: Any, verb: str = "train") -> tuple[Any, ...]:
    """Parse flags and ``--config`` YAML; flags win.

    Args:
        argv: The words after the verb.
        *more: Data classes of arguments that the verb has beside those of ``qtuning train``.
        verb: The verb, for messages.

    Returns:
        TRL's ``ScriptArguments``, our ``QTuningConfig``, TRL's ``ModelConfig`` and
        ``DatasetMixtureConfig``, and what is added.

    Raises:
        UsageError: An option is unknown, a value is invalid, or the config file cannot be read.
    """
    kinds = (ScriptArguments, QTuningConfig, ModelConfig, DatasetMixtureConfig, *more)
    parsed = OneLineParser(kinds, prog=f"qtuning {verb}").parse_in_one_line(argv)
    model_args = parsed[2]
    modules = vars(model_args).get("lora_target_modules")
    if isinstance(modules, str) and modules.isidentifier():
        # TRL makes a text of a list of one, which PEFT takes for a pattern of whole paths.
        model_args.lora_target_modules = [modules]
    return parsed


def named_model(model_args: ModelConfig) -> str:
    """The name of the model.

    Raises:
        UsageError: No model is named.
    """
    if model_args.model_name_or_path is None:
        raise UsageError("no model: give --model_name_or_path a folder, a Hub id or a GGUF file")
    return str(model_args.model_name_or_path)


def check(training_args: QTuningConfig, model_args: ModelConfig) -> None:
    """Check the arguments that can be checked without loading data or model.

    Raises:
        UsageError: No model is named, a named model or file of scores is unusable, an option needs
            CUDA and no device is there, the checkpoint to resume from is missing, or the output
            folder cannot be written to.
    """
    check_model(named_model(model_args))
    for field in (SCORER, REFERENCE_MODEL):
        if vars(training_args)[field] is not None:
            check_model(vars(training_args)[field], f"--{field}")
    args = vars(training_args)
    check_installed(
        args["report_to"],
        str(getattr(args["optim"], "value", args["optim"])),
        liger=bool(args["use_liger_kernel"]),
    )
    if model_args.use_peft:
        need("--use_peft", "peft", "peft")
    if training_args.initial_scores is not None:
        pruner = training_args.sample_pruner
        needs = Pruners.of(training_args).sample.needs
        check_initial_scores(
            training_args.initial_scores, training_args.entropy_over, pruner=pruner, needs=needs
        )
    if not torch.cuda.is_available():
        cuda_options = _cuda_options(training_args, model_args)
        if cuda_options:
            raise UsageError(
                f"{cuda_options[0]} asks for CUDA, and no CUDA device is there: leave it out"
            )
    resume = training_args.resume_from_checkpoint
    if resume not in (None, "True", "true", "False", "false") and not Path(resume).is_dir():
        raise UsageError(f"--resume_from_checkpoint {resume}: no such folder")
    folder = Path(training_args.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".qtuning-probe"
        probe.touch()
        probe.unlink(missing_ok=True)  # another rank may have removed the file
    except OSError as error:
        raise UsageError(
            f"cannot write to --output_dir {folder} ({error.strerror}): choose another folder"
        ) from error


def _cuda_options(training_args: QTuningConfig, model_args: ModelConfig) -> list[str]:
    """Return the options that are set and need CUDA."""
    attention = str(model_args.attn_implementation)
    device_map = (training_args.model_init_kwargs or {}).get("device_map")
    options = {
        "--fp16": training_args.fp16,
        "--tf32": training_args.tf32,
        "--ddp_backend nccl": training_args.ddp_backend == "nccl",
        f"--attn_implementation {attention}": "flash" in attention,
        "--activation_offloading": bool(vars(training_args).get("activation_offloading")),
        "--load_in_4bit": model_args.load_in_4bit,
        "--load_in_8bit": model_args.load_in_8bit,
        "--model_init_kwargs device_map": "cuda" in str(device_map),
    }
    return [name for name, is_set in options.items() if is_set]
