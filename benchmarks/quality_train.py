"""The trainer of every run of the quality study."""

from typing import Any

import torch
import transformers
from datasets import Dataset
from peft import LoraConfig
from quality_data import Row
from quality_study import Setting

from qtuning import QTuningConfig, QTuningTrainer
from qtuning.io.models import load_causal_lm, load_tokenizer


def make_trainer(
    setting: Setting, model: str, rows: list[Row], test: dict[str, list[Row]], **config: Any
) -> QTuningTrainer:
    """A trainer with the setting's hyperparameters; ``config`` adds to or replaces them.

    ``test`` are named evaluation sets, prepared as the training rows are.
    """
    transformers.set_seed(config.get("seed", 0))  # the adapter's weights are drawn
    lora = None
    if setting.lora_rank is not None:
        lora = LoraConfig(
            r=setting.lora_rank,
            lora_alpha=2 * setting.lora_rank,
            target_modules="all-linear",
            task_type="CAUSAL_LM",
        )
    settings: dict[str, Any] = {
        "num_train_epochs": setting.epochs,
        "per_device_train_batch_size": setting.batch,
        "gradient_accumulation_steps": setting.accumulation,
        "learning_rate": setting.learning_rate,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 2,
        "max_length": setting.max_length,
        "bf16": True,
        "gradient_checkpointing": False,
        "use_cpu": not torch.cuda.is_available(),
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    return QTuningTrainer(
        load_causal_lm(model),
        QTuningConfig(**(settings | config)),
        train_dataset=Dataset.from_list(rows),
        eval_dataset={name: Dataset.from_list(some) for name, some in test.items()},
        processing_class=load_tokenizer(model),
        peft_config=lora,
    )
