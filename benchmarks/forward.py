"""Single forward passes: their speed, for the bound, and their peak memory."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import process
import torch
from torch import Tensor, nn

from qtuning.precision import use_bf16
from qtuning.signals.forward import causal_lm_of, model_token_stats

IGNORED = -100
POSITIONS_AT_ONCE = 1024  # limits memory of a wide head, whose allocation would be timed

Batch = dict[str, Tensor]


def batches_by_length(rows: Sequence[dict[str, Any]], size: int) -> list[Batch]:
    """Make padded batches of samples of similar length, longest first."""
    order = sorted(rows, key=lambda row: -len(row["input_ids"]))
    return [padded(order[i : i + size]) for i in range(0, len(order), size)]


def padded(rows: Sequence[dict[str, Any]]) -> Batch:
    """Make a batch of rows: tensors ``(B, L)``, padded on the right."""
    longest = max(len(row["input_ids"]) for row in rows)

    def tensor(values: list[list[int]], fill: int) -> Tensor:
        return torch.tensor([v + [fill] * (longest - len(v)) for v in values])

    return {
        "input_ids": tensor([row["input_ids"] for row in rows], 0),
        "attention_mask": tensor([[1] * len(row["input_ids"]) for row in rows], 0),
        "labels": tensor([row["labels"] for row in rows], IGNORED),
    }


@contextmanager
def as_in_training(model: nn.Module) -> Iterator[None]:
    """Run the context without gradients, in eval mode and in the precision of training."""
    model.eval()
    with (
        torch.no_grad(),
        torch.autocast("cpu", torch.bfloat16, enabled=use_bf16(None, use_cpu=True)),
    ):
        yield


def arithmetic(model: Any, batch: Batch) -> None:
    """Run the backbone, and the head at answer positions, without using the logits."""
    causal_lm = causal_lm_of(model)
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    hidden = causal_lm.base_model(**inputs, use_cache=False)[0]
    answers = hidden[:, :-1][batch["labels"][:, 1:] != IGNORED]
    weight = causal_lm.get_output_embeddings().weight
    for positions in answers.split(POSITIONS_AT_ONCE):
        torch.mm(positions, weight.T)


def measure_speed(
    model: Any, warm_up: list[Any], steps: list[list[Any]], size: int
) -> dict[str, Any]:
    """Time the forward passes of all candidates.

    Args:
        model: The model.
        warm_up: Tokenised rows of the warm-up, which is not timed.
        steps: Tokenised rows of each optimizer step.
        size: Rows in a batch.

    Returns:
        Seconds, and tokens with and without padding.
    """
    batches = [batch for rows in steps for batch in batches_by_length(rows, size)]
    with as_in_training(model):
        for batch in batches_by_length(warm_up, size):
            arithmetic(model, batch)
        started, cpu_started = time.perf_counter(), time.process_time()
        for batch in batches:
            arithmetic(model, batch)
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "forward_tokens": sum(len(row["input_ids"]) for rows in steps for row in rows),
        "padded": {"scored": sum(batch["input_ids"].numel() for batch in batches), "trained": 0},
    }


def measure_peak(kind: str, model: Any, rows: list[Any]) -> dict[str, Any]:
    """Measure the peak memory of a forward pass of all rows in one batch.

    Args:
        kind: "backbone": hidden states alone. "scoring": our statistics. "logits": the model's
            logits and their log-softmax.
        model: The model.
        rows: Tokenised rows.
    """
    tiny = padded([{key: row[key][:8] for key in ("input_ids", "labels")} for row in rows[:1]])
    with as_in_training(model):
        _forward(kind, model, tiny)  # memory that the first forward pass sets up is not counted
    with as_in_training(model):  # a second context, so that weights cast to bf16 are counted
        batch = padded(rows)
        resting = process.resident()
        forgotten = process.forget_peak()
        started, cpu_started = time.perf_counter(), time.process_time()
        _forward(kind, model, batch)
        seconds = time.perf_counter() - started
        cpu_seconds = time.process_time() - cpu_started
    return {
        "seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "forward_tokens": int(batch["attention_mask"].sum()),
        "memory_mib": {
            "loaded": resting,
            "resting": resting,
            "peak": process.peak(),
            "peak_is_of_counted_steps": forgotten,
        },
    }


def _forward(kind: str, model: Any, batch: Batch) -> None:
    inputs = {key: batch[key] for key in ("input_ids", "attention_mask")}
    if kind == "scoring":
        model_token_stats(model, batch)
    elif kind == "backbone":
        causal_lm_of(model).base_model(**inputs, use_cache=False)
    else:
        model(**inputs, use_cache=False).logits.log_softmax(-1)
