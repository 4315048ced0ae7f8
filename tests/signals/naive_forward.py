"""The reference for models: their own logits, in float64 from there on."""

import os
from collections.abc import Mapping
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from qtuning import TokenStats
from qtuning.signals.forward import (
    model_token_stats,
)

from ..architectures import ARCHITECTURES, examples, padded

TOLERANCE = 1e-5  # nats; what is seen is below 2e-6
IDS = torch.arange(3, 19)[None]
# Gemma 2 has no sdpa: its attention has a soft cap too.
WITH_ATTENTION = [
    (name, attention)
    for name in ARCHITECTURES
    for attention in ("eager", "sdpa")
    if (name, attention) != ("gemma2", "sdpa")
]


@torch.no_grad()
def naive(model: nn.Module, batch: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """(nll, entropy), each (B, L-1), by the model's own logits, in float64 from there on."""
    inputs = {key: value for key, value in batch.items() if key != "labels"}
    return from_logits(model(**inputs).logits, batch["labels"])


def from_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    logp = logits[:, :-1].double().log_softmax(-1)
    targets = labels[:, 1:]
    nll = -logp.gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    entropy = -(logp.exp() * logp).sum(-1)
    ignored = targets == -100
    return nll.masked_fill(ignored, 0), entropy.masked_fill(ignored, 0)


def assert_same(
    got: tuple[Tensor, ...], expected: tuple[Tensor, ...], tolerance: float = TOLERANCE
) -> None:
    for mine, theirs in zip(got[:2], expected[:2], strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=0, atol=tolerance)


def difference(got: tuple[Tensor, ...], other: tuple[Tensor, ...]) -> float:
    """Mean absolute difference of the NLL, in nats a token."""
    return float((got[0] - other[0]).abs().sum() / (other[0] != 0).sum())


def answers(stats: TokenStats) -> tuple[Tensor, Tensor]:
    """NLL and entropy of the answer tokens alone, in the order of the samples."""
    return stats.nll[stats.mask], stats.entropy[stats.mask]


def one_by_one(model: PreTrainedModel) -> tuple[Tensor, Tensor]:
    singles = [answers(model_token_stats(model, padded([sample]))) for sample in examples()]
    return torch.cat([nll for nll, _ in singles]), torch.cat([h for _, h in singles])


class Wrapper(nn.Module):
    """Stands for FSDP's or DeepSpeed's wrapper; counts its forwards."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module, self.forwards = module, 0

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        self.forwards += 1
        return self.module(*args, **kwargs)
