"""How long it takes to select samples and tokens once they are scored.

    python benchmarks/selection.py --output benchmarks/results/selection.json

Stage 1 (``select_samples``) on 1,000,000 samples, stage 2 (``keep_tokens_many``) on the tokens of
50,000 samples, about ten million, and both on pools of 32 and 256, as in a training step. The data
are drawn to resemble real scores, once as they are and once rounded, so that most of them tie.

The cases take turns: every repeat measures each of them once. On a machine that does other work
as well, ``OMP_WAIT_POLICY=passive`` keeps torch's threads from spinning while they wait.
"""

import argparse
import json
import os
import resource
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from machine import load_average, machine, versions
from torch import Tensor

from qtuning import select_samples
from qtuning.core.tokens import keep_tokens_many

POOLS = (32, 256)
SAMPLES = 1_000_000
TOKEN_SAMPLES = 50_000
SAMPLE_RATIOS = (0.125, 0.25, 0.5)
TOKEN_RATIOS = (0.3, 0.5, 0.7)
SHORTEST, LONGEST = 20, 380

Case = dict[str, Any]


def sample_scores(n: int, tied: bool, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Draw perplexity (log-normal, median 7) and entropy with correlation 0.8; ``(n,)`` each."""
    generator = torch.Generator().manual_seed(seed)
    x, noise = torch.randn(2, n, generator=generator, dtype=torch.float64).unbind()
    ppl, entropy = 7 * (0.6 * x).exp(), (1.5 + 0.4 * (0.8 * x + 0.6 * noise)).clamp(min=0)
    return (ppl.round(), (4 * entropy).round() / 4) if tied else (ppl, entropy)


def token_scores(n: int, tied: bool, seed: int = 0) -> tuple[Tensor, list[int], Tensor]:
    """Draw NLL of all tokens ``(T,)``, lengths of ``n`` samples, and a mask of last tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(SHORTEST, LONGEST + 1, (n,), generator=generator)
    total = int(lengths.sum())
    nll = torch.empty(total).exponential_(0.5, generator=generator)
    protected = torch.zeros(total, dtype=torch.bool)
    protected[lengths.cumsum(0) - 1] = True
    return (2 * nll).round() / 2 if tied else nll, lengths.tolist(), protected


def cases() -> list[tuple[Case, Callable[[], object]]]:
    """Make all cases, each with the call that is timed."""
    case_calls: list[tuple[Case, Callable[[], object]]] = []
    for tied in (False, True):
        for n in (*POOLS, SAMPLES):
            ppl, entropy = sample_scores(n, tied)
            for ratio in SAMPLE_RATIOS:
                case = {"stage": "samples", "samples": n, "ratio": ratio, "tied": tied}
                case_calls.append((case, _call_select(ppl, entropy, ratio)))
        for n in (*POOLS, TOKEN_SAMPLES):
            nll, lengths, protected = token_scores(n, tied)
            for ratio in TOKEN_RATIOS:
                case = {"stage": "tokens", "samples": n, "ratio": ratio, "tied": tied}
                case["tokens"] = len(nll)
                case_calls.append((case, _call_keep(nll, lengths, protected, ratio)))
    return case_calls


def _call_select(ppl: Tensor, entropy: Tensor, ratio: float) -> Callable[[], object]:
    return lambda: select_samples(ppl, entropy, ratio)


def _call_keep(
    nll: Tensor, lengths: list[int], protected: Tensor, ratio: float
) -> Callable[[], object]:
    return lambda: keep_tokens_many(nll, lengths, ratio, protected=protected)


def measure(repeats: int) -> list[Case]:
    """Time all cases: median, lowest and highest seconds of a call over the repeats."""
    all_cases = cases()
    seconds: list[list[float]] = [[] for _ in all_cases]
    for repeat in range(-1, repeats):  # the first round only warms up
        for times, (case, call) in zip(seconds, all_cases, strict=True):
            # Small pools take less than a millisecond: time several calls together.
            calls = 20 if case["samples"] in POOLS else 1
            start = time.perf_counter()
            for _ in range(calls):
                call()
            if repeat >= 0:
                times.append((time.perf_counter() - start) / calls)
    return [
        {
            **case,
            "median_s": round(statistics.median(times), 6),
            "min_s": round(min(times), 6),
            "max_s": round(max(times), 6),
        }
        for times, (case, _) in zip(seconds, all_cases, strict=True)
    ]


def main() -> None:
    """Measure all cases, write the JSON, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--repeats", type=int, default=7)
    args = parser.parse_args()
    circumstances = machine() | {
        "threads": torch.get_num_threads(),
        "omp_wait_policy": os.environ.get("OMP_WAIT_POLICY"),
        "load_average": load_average(),
        "versions": versions(),
    }
    rows = measure(args.repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # KiB on Linux
    result = {
        "command": "python benchmarks/selection.py --output benchmarks/results/selection.json",
        "machine": circumstances,
        "repeats": args.repeats,
        "peak_memory_mib": round(peak),
        "cases": rows,
    }
    args.output.parent.mkdir(parents=True, exist_ok=True)
    args.output.write_text(json.dumps(result, indent=1) + "\n")
    for row in rows:
        description = f"{row['stage']} of {row['samples']:,} samples at {row['ratio']}"
        times = " ".join(f"{1000 * row[key]:10.2f}" for key in ("median_s", "min_s", "max_s"))
        print(f"{description:42}{'tied' if row['tied'] else '':6}{times} ms")
    print(f"peak resident memory {peak:,.0f} MiB")


if __name__ == "__main__":
    main()
