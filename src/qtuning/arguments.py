"""The arguments of ``qtuning train``: TRL's own and ours, checked before anything is loaded."""

import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NoReturn

import torch
from trl import DatasetMixtureConfig, ModelConfig, ScriptArguments, TrlParser

from .config import QTuningConfig
from .errors import UsageError
from .models import check_model
from .other_models import REFERENCE_MODEL, SCORER
from .score_store import check_initial_scores


class OneLineParser(TrlParser):
    """TrlParser that says in one line what is wrong instead of printing all options."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; see `{self.prog} --help`")

    def parse_in_one_line(self, argv: Sequence[str]) -> tuple[Any, ...]:
        """Parse flags and ``--config`` YAML; flags win.

        Raises:
            UsageError: An unknown option, a bad value, or an unreadable config file.
        """
        import yaml

        try:
            parsed: tuple[Any, ...] = self.parse_args_and_config(args=list(argv))
        except (OSError, yaml.YAMLError) as error:
            raise UsageError(f"cannot read the config file: {error}") from error
        except (ValueError, ImportError) as error:  # what dataclasses find wrong in their fields
            raise UsageError(_name_the_option(str(error), self)) from error
        return parsed


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


def _name_the_option(message: str, parser: TrlParser) -> str:
    """Add the near names to TRL's message on unknown options."""
    unknown = re.findall(r"'--?([A-Za-z_-]+)", message)
    if "not used" not in message and "Unknown arguments" not in message:
        return message
    known = [action.dest for action in parser._actions]
    near = [m for name in unknown for m in get_close_matches(name, known, n=1)]
    hint = f", did you mean {', '.join(near)}?" if near else f"; see `{parser.prog} --help`"
    return f"unknown option {', '.join(unknown)}{hint}"


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
