"""Held-out figures of a model: answer NLL, and word problems solved by greedy decoding."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from quality_data import Row, is_right
from quality_numbers import pack_bits

from qtuning import QTuningTrainer
from qtuning.evaluation import held_out
from qtuning.signals.scorer import evaluating

NLL_BATCH, SOLVE_BATCH = 16, 50
NEW_TOKENS = 40
"""More than 95% of the right answers need, up to the end-of-turn token."""


def held_out_nll(trainer: QTuningTrainer, name: str) -> dict[str, float]:
    """Answer NLL of one of the trainer's evaluation sets, in nats a token.

    Returns:
        ``nll``: mean over all answer tokens; ``nll_by_sample``: mean over the rows' means;
        ``tokens`` and ``rows``.
    """
    found = held_out(trainer, trainer.eval_dataset[name], batch_size=NLL_BATCH)
    by_sample = [s / n for s, n in zip(found.nll_sums, found.counts, strict=True)]
    return {
        "nll": found.nll,
        "nll_by_sample": sum(by_sample) / len(by_sample),
        "tokens": found.tokens,
        "rows": found.rows,
    }


@torch.no_grad()
def solved(trainer: QTuningTrainer, rows: Sequence[Row]) -> dict[str, Any]:
    """Share of the rows whose number is right after greedy decoding, with its standard error."""
    tokenizer, model = trainer.processing_class, trainer.model
    prompts = [tokenizer(row["prompt"])["input_ids"] for row in rows]
    by_length = sorted(range(len(rows)), key=lambda i: len(prompts[i]))
    right = [False] * len(rows)
    with evaluating(model), trainer.accelerator.autocast():
        for start in range(0, len(rows), SOLVE_BATCH):
            members = by_length[start : start + SOLVE_BATCH]
            batch = left_padded([prompts[i] for i in members], tokenizer.pad_token_id)
            output = model.generate(
                **{key: value.to(model.device) for key, value in batch.items()},
                max_new_tokens=NEW_TOKENS,
                do_sample=False,
                pad_token_id=tokenizer.pad_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
            width = batch["input_ids"].shape[1]
            texts = tokenizer.batch_decode(output[:, width:], skip_special_tokens=True)
            for i, text in zip(members, texts, strict=True):
                right[i] = is_right(text, rows[i]["completion"])
    share = sum(right) / len(rows)
    return {
        "accuracy": share,
        "standard_error": math.sqrt(share * (1 - share) / len(rows)),
        "rows": len(rows),
        "right": pack_bits(right),
    }


def left_padded(prompts: Sequence[Sequence[int]], pad: int) -> dict[str, torch.Tensor]:
    """``input_ids`` and ``attention_mask`` ``(B, L)`` of prompts that all end at the right."""
    width = max(map(len, prompts))
    ids = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
    mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
