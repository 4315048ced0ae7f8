"""How exact the heads are, what they decide, and how many tokens a second they score."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from forward import padded
from gpu_steps import to_device
from gpu_subjects import Place, build, rows
from subjects import IGNORED
from torch import Tensor

from qtuning import select_samples
from qtuning.signals.forward import causal_lm_of, model_token_stats

POOL = 32
RATIOS = (0.125, 0.25, 0.5)
PASS_TOKENS = 16384
OURS, FUSED = "ours", "TRL's fused"
BACKBONE = "backbone alone"
EXACT = 1e-4
"""Nats by which our head in float32 may be off."""

Batch = dict[str, Tensor]
Scored = tuple[Tensor, Tensor]
"""NLL and entropy of the answer tokens of a batch, row by row."""


def decisions(place: Place, data: str) -> Iterator[dict[str, Any]]:
    """Compare the heads with float64 logits of a float32 backbone: errors, and who is kept."""
    groups = _passes(place, data, 2 * POOL if place.tiny else 8 * POOL)
    model = build(place, place.small, torch.float32).eval()
    fused = _add_fused(model)
    want = _scores(place, groups, lambda batch: _reference(model, batch))
    for precision in ("float32", "autocast", "bf16 weights"):
        model.to(torch.bfloat16 if precision == "bf16 weights" else torch.float32)
        for way, work in _heads(model, fused):
            if place.left < 0:
                return
            with _context(place, precision):
                got = _scores(place, groups, work)
            errors = [(a - b).abs() for a, b in zip(got, want, strict=True)]
            kept = {str(ratio): _jaccard(got, want, ratio) for ratio in RATIOS}
            exact = float(errors[0].mean()) < EXACT and min(kept.values()) == 1.0
            yield {
                "data": data,
                "way": way,
                "precision": precision,
                "log_ppl_mean": float(errors[0].mean()),
                "log_ppl_most": float(errors[0].max()),
                "entropy_mean": float(errors[1].mean()),
                "jaccard": kept,
                "ok": exact if (way, precision) == (OURS, "float32") else None,
            }


def scoring(place: Place, data: str) -> Iterator[dict[str, Any]]:
    """Measure tokens a second of the backbone alone and with the heads, under autocast."""
    groups = _passes(place, data, 2 * POOL if place.tiny else 32 * POOL)
    tokens = sum(int(batch["attention_mask"].sum()) for batch in groups)
    model = build(place, place.small, torch.float32).eval()
    fused = _add_fused(model)
    for way, work in [(BACKBONE, lambda batch: _backbone(model, batch)), *_heads(model, fused)]:
        seconds = []
        for _ in range(2 if place.tiny else 4):
            if place.left < 0:
                return
            began = time.perf_counter()
            with torch.no_grad(), _context(place, "autocast"):
                outputs = [work(to_device(place, batch)) for batch in groups]
            torch.cat([output[0].float().flatten() for output in outputs]).cpu()
            seconds.append(time.perf_counter() - began)
        yield {
            "data": data,
            "way": way,
            "passes": len(groups),
            "first_tokens_a_second": tokens / seconds[0],
            "tokens_a_second": tokens / min(seconds[1:]),
        }


def _passes(place: Place, data: str, n: int) -> list[Batch]:
    """Batches of at most so many tokens, padding included, the longest rows first."""
    made = list(rows(place, place.small, data, n, 0))
    groups: list[list[Any]] = []
    for row in sorted(made, key=lambda row: -len(row["input_ids"])):
        longest = len(groups[-1][0]["input_ids"]) if groups else PASS_TOKENS
        if not groups or longest * (len(groups[-1]) + 1) > PASS_TOKENS:
            groups.append([])
        groups[-1].append(row)
    return [padded(group) for group in groups]


def _heads(model: Any, fused: bool) -> list[tuple[str, Callable[[Batch], Scored]]]:
    def ours(batch: Batch) -> Scored:
        stats = model_token_stats(model, batch)
        return stats.nll[stats.mask], stats.entropy[stats.mask]

    def trl(batch: Batch) -> Scored:
        output = model(**batch, use_cache=False, fused_lm_head=True)
        mask = output.label_mask
        return -output.log_probs[mask].float(), output.entropy[mask].float()

    return [(OURS, ours), *([(FUSED, trl)] if fused else [])]


def _add_fused(model: Any) -> bool:
    """Add TRL's head; False where this version has none."""
    try:
        from trl.trainer.utils import add_fused_lm_head
    except ImportError:
        return False
    add_fused_lm_head(model, outputs=("log_probs", "entropy"))
    return True


def _context(place: Place, precision: str) -> Any:
    if precision != "autocast":
        return nullcontext()
    return torch.autocast(place.device.type, torch.bfloat16)


def _backbone(model: Any, batch: Batch) -> Scored:
    hidden = causal_lm_of(model).base_model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    )[0]
    return hidden[:, 0], hidden[:, 0]


def _reference(model: Any, batch: Batch) -> Scored:
    """Float64 logits of the hidden states, a few hundred tokens at a time."""
    hidden = causal_lm_of(model).base_model(
        input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], use_cache=False
    )[0]
    labels = batch["labels"][:, 1:]
    mask = labels != IGNORED
    weight = causal_lm_of(model).get_output_embeddings().weight.double()
    nll, entropy = [], []
    answers, gold = hidden[:, :-1][mask], labels[mask]
    for part, wanted in zip(answers.split(512), gold.split(512), strict=True):
        logp = (part.double() @ weight.T).log_softmax(-1)
        nll.append(-logp.gather(1, wanted[:, None])[:, 0])
        entropy.append(-(logp.exp() * logp).sum(1))
    return torch.cat(nll), torch.cat(entropy)


@torch.no_grad()
def _scores(place: Place, groups: Sequence[Batch], work: Callable[[Batch], Scored]) -> Scored:
    """Log perplexity and mean entropy of each row, in float64 on the CPU."""
    found: tuple[list[Tensor], list[Tensor]] = ([], [])
    for batch in groups:
        counts = (batch["labels"][:, 1:] != IGNORED).sum(1).tolist()
        for values, sums in zip(work(to_device(place, batch)), found, strict=True):
            sums += [row.mean() for row in values.double().cpu().split(counts)]
    # The rows came longest first; pools are of all lengths.
    n = len(found[0])
    mixed = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    return torch.stack(found[0])[mixed], torch.stack(found[1])[mixed]


def _jaccard(got: Scored, want: Scored, ratio: float) -> float:
    a, b = (
        torch.cat(
            [
                select_samples(log_ppl.exp(), entropy, ratio).kept
                for log_ppl, entropy in zip(both[0].split(POOL), both[1].split(POOL), strict=True)
            ]
        )
        for both in (got, want)
    )
    return float((a & b).sum() / (a | b).sum())
