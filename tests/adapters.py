"""Adapters of the tiny model, as a run with ``--use_peft`` leaves them."""

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model

from qtuning.io.models import load_causal_lm

from . import tiny


def save(folder: Path, base: Path, *, chat: bool | None = None, **lora: Any) -> torch.nn.Module:
    """Save an adapter that has learnt something, and return the model with it, not merged.

    Args:
        folder: Where the adapter is saved.
        base: The folder of its base.
        chat: Save a tokenizer, with a chat template or without; None saves none.
        **lora: Fields of ``LoraConfig``.
    """
    config = LoraConfig(
        **{"task_type": "CAUSAL_LM", "r": 4, "target_modules": ["q_proj", "v_proj"], **lora}
    )
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        model = get_peft_model(load_causal_lm(str(base)), config)
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    model.save_pretrained(folder)
    if chat is not None:
        tiny.tokenizer(chat).save_pretrained(folder)
    return model.eval()
