"""The reference for token statistics: full logits in float64."""

import math
from typing import Any

import torch
from torch import Tensor

from qtuning import TokenStats, token_stats

# Beyond the error of a straightforward float32 computation, as Apple's CCE is tested: two units in
# the last place of the result, and what two orders of summation may differ by.

EPSILON = torch.finfo(torch.float32).eps
TOLERANCE = 1e-5
LOWEST = torch.finfo(torch.float32).min


def reference(
    hidden: Tensor,
    weight: Tensor,
    labels: Tensor,
    dtype: torch.dtype = torch.float64,
    bias: Tensor | None = None,
    softcap: float | None = None,
    logit_scale: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """(nll, entropy), each (B, L-1), by full logits and log_softmax."""
    logits = hidden.to(dtype) @ weight.to(dtype).T
    if bias is not None:
        logits = logits + bias.to(dtype)
    logits = logits * logit_scale
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    logp = logits[:, :-1].log_softmax(-1)
    targets = labels[:, 1:]
    counted = targets != -100
    nll = -logp.gather(-1, targets.clamp(min=0)[..., None]).squeeze(-1)
    p = logp.exp()
    entropy = -torch.where(p > 0, p * logp, 0).sum(-1)
    return torch.where(counted, nll, 0), torch.where(counted, entropy, 0)


def check(hidden: Tensor, weight: Tensor, labels: Tensor, tiles: Any = (), **options: Any) -> None:
    """Error at most that of straightforward float32, and a small tolerance."""
    got = token_stats(hidden, weight, labels, **dict(tiles), **options)
    exact = reference(hidden, weight, labels, **options)
    plain = reference(hidden, weight, labels, torch.float32, **options)
    assert torch.equal(got.mask, labels[:, 1:] != -100)
    assert got.mask.dtype == torch.bool
    for mine, truth, usual in zip(got[:2], exact, plain, strict=True):
        assert mine.dtype == torch.float32
        assert mine.shape == truth.shape
        allowed = TOLERANCE + 2 * EPSILON * truth.abs()
        if usual.numel():
            allowed += (usual - truth).abs().amax()
        assert bool(((mine - truth).abs() <= allowed).all())


def draw(
    b: int, length: int, d: int, v: int, seed: int = 0, scale: float = 1.0
) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    hidden = torch.randn(b, length, d, generator=g)
    weight = torch.randn(v, d, generator=g) * scale / math.sqrt(d)
    labels = torch.randint(0, v, (b, length), generator=g)
    labels[torch.rand(b, length, generator=g) < 0.4] = -100
    return hidden, weight, labels


def one(logits: list[float] | Tensor, label: int) -> tuple[Tensor, Tensor, Tensor]:
    """One position whose logits are exactly those given."""
    weight = torch.as_tensor(logits, dtype=torch.float32)[:, None]
    return torch.ones(1, 2, 1), weight, torch.tensor([[-100, label]])


def values(stats: TokenStats) -> tuple[float, float]:
    return stats.nll[0, 0].item(), stats.entropy[0, 0].item()
