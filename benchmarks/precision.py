"""Does the precision of the scoring pass change decisions?

    python benchmarks/precision.py --output benchmarks/results/precision.json

Scores the same rows with SmolLM2-135M in float32 and in cheaper ways, decides on pools of 32 with
each, and compares with float32: mean and highest difference of a token's NLL and entropy in nats,
and the Jaccard index of the kept samples and of the kept tokens of samples that both keep. Nothing
is trained. Seconds are those of the scoring passes, one after the other, each way once: a hint.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from machine import code_version, machine, versions
from transformers import PreTrainedModel
from trl import SFTConfig, SFTTrainer

from qtuning import keep_tokens, select_samples
from qtuning.examples.example import answer_positions
from qtuning.examples.labels import Labels
from qtuning.examples.pass_size import pass_overhead
from qtuning.io.models import load_causal_lm, load_tokenizer
from qtuning.signals.scorer import Scorer, Scores

REFERENCE = "float32"
BUDGETS = ((0.125, 0.5), (0.25, 0.5), (0.5, 0.7))
POOL = 32


def ways(model: str) -> Iterator[tuple[str, PreTrainedModel, Callable[[], Any]]]:
    """Yield name, model and precision of each way to score."""
    half = partial(torch.autocast, "cpu", torch.bfloat16)
    full = load_causal_lm(model)
    yield REFERENCE, full, nullcontext
    yield "bf16 autocast", full, half
    yield "bf16 weights", load_causal_lm(model, dtype="bfloat16"), nullcontext


def tokenised(path: Path, n: int, model: str) -> tuple[list[dict[str, Any]], Labels]:
    """Return the first ``n`` rows of a file as the trainer tokenises them, and the labels."""
    rows = [json.loads(line) for line in path.read_text().splitlines()[:n]]
    texts = [{"prompt": row["prompt"], "completion": row["completion"]} for row in rows]
    trainer = SFTTrainer(
        load_causal_lm(model),
        SFTConfig("unused", max_length=512, use_cpu=True, bf16=False, report_to="none"),
        train_dataset=Dataset.from_list(texts),
        processing_class=load_tokenizer(model),
    )
    labels = Labels(trainer.data_collator)
    return [labels.of(dict(row)) for row in trainer.train_dataset], labels


def score(
    rows: Sequence[dict[str, Any]],
    labels: Labels,
    model: PreTrainedModel,
    precision: Callable[[], AbstractContextManager[Any]],
) -> list[Scores]:
    """Score rows: NLL and entropy in nats of the answer tokens of each row, in pools."""
    scorer = Scorer(
        collate=labels.collate,
        to_device=lambda batch: batch,
        autocast=precision,
        batch_size=8,
        overhead=pass_overhead("cpu"),
    )
    pairs = [(row, len(answer_positions(row["labels"]))) for row in rows]
    scores = []
    for start in range(0, len(rows), POOL):
        scores += scorer(model, model, pairs[start : start + POOL])
    return scores


def decisions(scores: Sequence[Scores], samples: float, tokens: float) -> dict[int, torch.Tensor]:
    """Return the kept rows of all pools, with masks of the tokens that the token stage keeps."""
    masks: dict[int, torch.Tensor] = {}
    for start in range(0, len(scores), POOL):
        pool = scores[start : start + POOL]
        ppl = torch.stack([one.nll.double().mean().exp() for one in pool])
        entropy = torch.stack([one.entropy.double().mean() for one in pool])
        for place in select_samples(ppl, entropy, samples).kept.nonzero().flatten().tolist():
            masks[start + place] = keep_tokens(pool[place][0], tokens)
    return masks


def compare(scores: Sequence[Scores], reference: Sequence[Scores]) -> dict[str, Any]:
    """Compute differences to the reference in nats, and agreement of decisions by budget."""
    pairs = zip(scores, reference, strict=True)
    differences = torch.cat(
        [torch.stack([a[0] - b[0], a[1] - b[1]]).abs() for a, b in pairs], dim=1
    )
    figures: dict[str, Any] = {
        "nll_mean": float(differences[0].mean()),
        "nll_max": float(differences[0].max()),
        "entropy_mean": float(differences[1].mean()),
        "entropy_max": float(differences[1].max()),
        "agreement": {},
    }
    for samples, tokens in BUDGETS:
        ours, theirs = decisions(scores, samples, tokens), decisions(reference, samples, tokens)
        both = ours.keys() & theirs.keys()
        indices = [jaccard(ours[i].tolist(), theirs[i].tolist()) for i in both]
        flags = [[i in masks for i in range(len(scores))] for masks in (ours, theirs)]
        figures["agreement"][f"{samples:.1%} x {tokens:.0%}"] = {
            "samples": jaccard(*flags),
            "tokens": sum(indices) / len(indices) if indices else None,
        }
    return figures


def jaccard(one: Sequence[bool], other: Sequence[bool]) -> float:
    """Compute the Jaccard index of two masks over the same items; 1 if both are empty."""
    both = sum(a and b for a, b in zip(one, other, strict=True))
    either = sum(a or b for a, b in zip(one, other, strict=True))
    return both / either if either else 1.0


def main() -> None:
    """Measure all ways on all data sets, and write the JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--model", default="runs/smollm2", help="folder of SmolLM2-135M")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--rows", type=int, default=256)
    options = parser.parse_args()
    results: dict[str, Any] = {}
    for name in ("alpaca", "gsm8k"):
        rows, labels = tokenised(options.data / name / "train.jsonl", options.rows, options.model)
        scores_of: dict[str, list[Scores]] = {}
        results[name] = {"rows": len(rows), "ways": {}}
        for way, model, precision in ways(options.model):
            started = time.perf_counter()
            scores_of[way] = score(rows, labels, model.eval(), precision)
            seconds = time.perf_counter() - started
            figures = compare(scores_of[way], scores_of[REFERENCE])
            results[name]["ways"][way] = {"seconds": seconds, **figures}
            print(name, way, json.dumps(results[name]["ways"][way]), flush=True)
    content = {
        "machine": machine() | {"versions": versions()},
        "code": code_version(),
        "pool": POOL,
        "results": results,
    }
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
