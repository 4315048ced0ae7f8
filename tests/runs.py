"""Short training runs for tests."""

from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import TrainerCallback, set_seed
from trl import SFTConfig, SFTTrainer

from qtuning import SAMPLE_PRUNERS, TOKEN_PRUNERS, QTuningConfig, QTuningTrainer
from qtuning.pruners.protocols import OF_IMAGES

from . import device, tiny

SETTINGS: dict[str, Any] = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 2,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "save_strategy": "no",
    "report_to": "none",
    "bf16": False,
    **device.arguments(),
    "disable_tqdm": True,
    "gradient_checkpointing": False,
}


# Every pruner with Q-Tuning's other half, and with those of the other axis that need no scores.
# Data of text alone refuse those that read images, which tests/training/test_images.py tries.
TEXT_PRUNERS = [name for name, pruner in SAMPLE_PRUNERS.items() if not pruner.needs & OF_IMAGES]
PAIRS = sorted(
    {
        *((sample, token) for sample in TEXT_PRUNERS for token in ("q-tuning", "random")),
        *((sample, token) for token in TOKEN_PRUNERS for sample in ("q-tuning", "random")),
    }
)
COMPARING = ("rho-1", "token-cleaning")
"""Token pruners that need a reference model."""


RESUMES_TOGETHER = Version(transformers.__version__) >= Version("5.23")
"""Whether several processes resume on the CPU.

transformers 5.6 reads optimizer states to "cpu:0", which torch does not know. GPUs are not
affected.
"""


class Stop(Exception):
    """The machine went away."""


class StopAfter(TrainerCallback):
    """Ends the run the hard way once so many steps are done."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_step_begin(self, args, state, control, **kwargs) -> None:
        if state.global_step >= self.step:
            raise Stop


def stock(folder: Path, *, data: Any = None, model: Any = None, **settings: Any) -> SFTTrainer:
    return SFTTrainer(
        model or tiny.llama(attention_dropout=0.1),
        SFTConfig(str(folder), **{**SETTINGS, **settings}),
        train_dataset=tiny.dataset() if data is None else data,
        processing_class=tiny.tokenizer(),
    )


def pruning(
    folder: Path,
    *,
    data: Any = None,
    model: Any = None,
    peft: Any = None,
    eval_data: Any = None,
    **settings: Any,
) -> QTuningTrainer:
    """A trainer whose pools of 8 are pruned to 4 x 50%; dropout makes it draw random numbers."""
    set_seed(42)  # older TRL draws adapters before it seeds
    return QTuningTrainer(
        model or tiny.llama(attention_dropout=0.1),
        QTuningConfig(str(folder), **{**SETTINGS, "sample_ratio": 0.5, **settings}),
        train_dataset=tiny.dataset() if data is None else data,
        processing_class=tiny.tokenizer(),
        peft_config=peft,
        eval_dataset=eval_data,
    )


def losses(trainer: Any) -> list[float]:
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def same_weights(a: Any, b: Any) -> bool:
    first, second = a.model.state_dict(), b.model.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)
