"""The arguments of ``qtuning train``: TRL's own and ours, checked before anything is loaded."""

from collections.abc import Sequence
from pathlib import Path

import torch
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments

from ..errors import UsageError
from ..io.extras import need
from ..io.models import check_model
from ..run.initial_scores import check_initial_scores
from ..signals.other_models import REFERENCE_MODEL, SCORER
from ..training.config import QTuningConfig
from .parser import OneLineParser


def parse(
    argv: Sequence[str],
) -> tuple[ScriptArguments, QTuningConfig, ModelConfig, DatasetMixtureConfig]:
    """Parse flags and ``--config`` YAML; flags win.

    Raises:
        UsageError: An unknown option, a bad value, or an unreadable config file.
    """
    parser = OneLineParser(
        (ScriptArguments, QTuningConfig, ModelConfig, DatasetMixtureConfig), prog="qtuning train"
    )
    script_args, training_args, model_args, dataset_args = parser.parse_in_one_line(argv)
    return script_args, training_args, model_args, dataset_args


def check(training_args: QTuningConfig, model_args: ModelConfig) -> None:
    """Check what can be checked without data or model.

    Raises:
        UsageError: No model, CUDA asked for and absent, nothing to resume from, or an output
            folder that cannot be written to.
    """
    if model_args.model_name_or_path is None:
        raise UsageError("no model: give --model_name_or_path a folder, a Hub id or a GGUF file")
    for field in (SCORER, REFERENCE_MODEL):
        if vars(training_args)[field] is not None:
            check_model(vars(training_args)[field], f"--{field}")
    if model_args.use_peft:
        need("--use_peft", "peft", "peft")
    if training_args.initial_scores is not None:
        check_initial_scores(training_args.initial_scores)
    if not torch.cuda.is_available():
        asked = _cuda_options(training_args, model_args)
        if asked:
            raise UsageError(f"{asked[0]} asks for CUDA, and no CUDA device is there: leave it out")
    resume = training_args.resume_from_checkpoint
    if resume not in (None, "True", "true", "False", "false") and not Path(resume).is_dir():
        raise UsageError(f"--resume_from_checkpoint {resume}: no such folder")
    folder = Path(training_args.output_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".qtuning-probe"
        probe.touch()
        probe.unlink(missing_ok=True)  # another rank may have been faster
    except OSError as error:
        raise UsageError(
            f"cannot write to --output_dir {folder} ({error.strerror}): choose another folder"
        ) from error


def _cuda_options(training_args: QTuningConfig, model_args: ModelConfig) -> list[str]:
    attention = str(model_args.attn_implementation)
    device_map = (training_args.model_init_kwargs or {}).get("device_map")
    options = {
        "--fp16": training_args.fp16,
        "--tf32": training_args.tf32,
        "--ddp_backend nccl": training_args.ddp_backend == "nccl",
        f"--attn_implementation {attention}": "flash" in attention,
        "--load_in_4bit": model_args.load_in_4bit,
        "--load_in_8bit": model_args.load_in_8bit,
        "--model_init_kwargs device_map": "cuda" in str(device_map),
    }
    return [name for name, asked in options.items() if asked]
