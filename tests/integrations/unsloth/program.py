"""Train with Unsloth as its users do: ``python -m`` this module, and runs as JSON in a file.

Each run has a name, which is its output folder; whether it prunes; whether LoRA is trained; and
what else ``SFTConfig`` or ``QTuningConfig`` takes. ``resume`` is for ``trainer.train``.
"""

import sys

import unsloth  # before all others

# isort: split
import json
from pathlib import Path
from typing import Any

import torch
from trl import SFTConfig, SFTTrainer

from qtuning import QTuningConfig, QTuningTrainer, UsageError, stop_on_signals

from ... import tiny

SETTINGS = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "learning_rate": 1e-3,
    "max_steps": 4,
    "save_steps": 2,
    "logging_steps": 1,
    "report_to": "none",
    "max_length": 128,
    "bf16": False,
}


def train(
    folder: Path,
    name: str,
    *,
    prunes: bool = True,
    lora: bool = False,
    resume: bool = False,
    evaluates: bool = False,
    **settings: Any,
) -> None:
    torch.manual_seed(0)
    model, tokenizer = unsloth.FastLanguageModel.from_pretrained(
        str(folder / "model"),
        max_seq_length=128,
        dtype=torch.float32,
        load_in_4bit=False,
        full_finetuning=not lora,
    )
    if lora:
        model = unsloth.FastLanguageModel.get_peft_model(
            model, r=4, lora_alpha=8, target_modules=["q_proj", "v_proj", "up_proj"]
        )
    config, trainer_class = (QTuningConfig, QTuningTrainer) if prunes else (SFTConfig, SFTTrainer)
    trainer = trainer_class(
        model=model,
        tokenizer=tokenizer,  # Unsloth's notebooks have it so
        args=config(str(folder / name), **{**SETTINGS, **settings}),
        train_dataset=tiny.dataset(40),
        eval_dataset=tiny.dataset(8, seed=1) if evaluates else None,
    )
    with stop_on_signals(trainer):
        trainer.train(resume_from_checkpoint=resume or None)
    trainer.save_model(str(folder / name))


if __name__ == "__main__":
    file = Path(sys.argv[1])
    try:
        for run in json.loads(file.read_text()):
            train(file.parent, **run)
    except UsageError as error:
        print(f"qtuning: {error}", file=sys.stderr)
        sys.exit(2)
