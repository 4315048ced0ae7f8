"""Throughput of scoring, against its arithmetic bound and a plain loop.

    python benchmarks/score.py --output benchmarks/results/score.json
    python benchmarks/score.py --prune --output benchmarks/results/score.json

Scores the same rows in several ways, in one process and in turns; the figures are medians over the
repeats, the ratios are taken within a repeat. Tokens are those of prompt and answer together.

- ours: ``qtuning score``'s pass, from tokenised rows to NLL and entropy of every answer token;
- bound: the backbone's forward over the same batches and the head's matrix product over the answer
  positions, in the precision of ours (the head in float32), and nothing else;
- plain: ``AutoModelForCausalLM`` at batch size 1, full logits, log-softmax, mean NLL and entropy.

With ``--prune``: a million generated scores through ``qtuning prune``, its seconds (imports apart)
and peak memory.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from machine import ROOT, code_version, machine, versions
from precision import score, tokenised
from sources import describe_data, smollm2_folder
from transformers import PreTrainedModel

from qtuning.examples.example import answer_positions
from qtuning.examples.grouping import group_by_length
from qtuning.examples.labels import Labels
from qtuning.examples.pass_size import pass_overhead
from qtuning.io.models import load_causal_lm

Rows = Sequence[dict[str, Any]]
Precision = Callable[[], AbstractContextManager[Any]]
PRECISIONS: dict[str, Precision] = {
    "float32": nullcontext,
    "bf16 autocast": partial(torch.autocast, "cpu", torch.bfloat16),
}
MILLION = 1_000_000


@torch.no_grad()
def bound(rows: Rows, labels: Labels, model: PreTrainedModel, precision: Precision) -> None:
    """Do only the unavoidable work, in the batches of ``ours``: backbone and head products."""
    lengths = [len(row["input_ids"]) for row in rows]
    batches = group_by_length(lengths, 8 * max(lengths), pass_overhead("cpu"))
    weight = model.get_output_embeddings().weight
    backbone = model.base_model
    with precision():
        for members in batches:
            batch = labels.collate([rows[i] for i in members])
            hidden = backbone(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).last_hidden_state
            answers = hidden[:, :-1][batch["labels"][:, 1:] != -100]
            with torch.autocast("cpu", enabled=False):
                answers = answers.float()
                for columns in weight.split(2048):
                    torch.matmul(answers, columns.T)


@torch.no_grad()
def plain(rows: Rows, labels: Labels, model: PreTrainedModel, precision: Precision) -> None:
    """Score in a plain loop: one row at a time, full logits."""
    with precision():
        for row in rows:
            ids, targets = torch.tensor([row["input_ids"]]), torch.tensor(row["labels"])[1:]
            logp = model(input_ids=ids).logits[0, :-1].float().log_softmax(-1)
            places = targets != -100
            float(-logp[places].gather(1, targets[places, None]).mean())
            float(-(logp[places].exp() * logp[places]).sum(-1).mean())


def ours(rows: Rows, labels: Labels, model: PreTrainedModel, precision: Precision) -> None:
    """Score by the pass of ``qtuning score``."""
    score(rows, labels, model, precision)


def compare(rows: Rows, labels: Labels, model: PreTrainedModel, repeats: int) -> dict[str, Any]:
    """Measure tokens per second of each way in each precision, and the ratios."""
    tokens = sum(len(row["input_ids"]) for row in rows)
    ways = {"ours": ours, "bound": bound, "plain": plain}
    figures: dict[str, Any] = {}
    for name, precision in PRECISIONS.items():
        seconds: dict[str, list[float]] = {way: [] for way in ways}
        for repeat in range(repeats + 1):
            for way, work in ways.items():
                started = time.perf_counter()
                work(rows, labels, model, precision)
                if repeat:  # the first repeat is the warm-up
                    seconds[way].append(time.perf_counter() - started)
        pairs = list(zip(*(seconds[way] for way in ways), strict=True))
        figures[name] = {
            "tokens_per_second": {way: tokens / median(times) for way, times in seconds.items()},
            "seconds": seconds,
            "ours_over_bound": median(one / least for one, least, _ in pairs),
            "plain_over_ours": median(loop / one for one, _, loop in pairs),
        }
        print(name, {way: round(v) for way, v in figures[name]["tokens_per_second"].items()})
    return figures


def prune_a_million(repeats: int) -> dict[str, Any]:
    """Measure seconds and peak memory of pruning generated scores, each in its own process."""
    with TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--prune_in", folder]
        runs = [json.loads(subprocess.check_output(command)) for _ in range(repeats)]
    return {
        "rows": MILLION,
        "seconds": median(run["seconds"] for run in runs),
        "peak_bytes": max(run["peak_bytes"] for run in runs),
        "runs": runs,
    }


def prune_once(folder: Path) -> None:
    """Prune once for ``prune_a_million``: print seconds and peak memory as JSON."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from qtuning.commands import prune as prune_command
    from qtuning.offline.origin import with_origin

    scores = folder / "scores.parquet"
    if not scores.exists():
        draw = np.random.default_rng(0)
        columns = {
            "prompt": [f"prompt {i}" for i in range(MILLION)],
            "sample_id": [f"row-{i}" for i in range(MILLION)],
            "ppl": np.exp(draw.normal(2, 1, MILLION)),
            "entropy": draw.gamma(2, 1, MILLION),
            "n_tokens": draw.integers(1, 400, MILLION),
        }
        table = pa.table(columns)
        pq.write_table(table.cast(with_origin(table.schema, {})), scores)
        del table, columns
    output = folder / "pruned.parquet"
    output.unlink(missing_ok=True)
    words = [str(scores), "--output", str(output), "--sample_ratio", "0.125"]
    started = time.perf_counter()
    sys.stdout, stdout = sys.stderr, sys.stdout
    prune_command.run([*words, "--token_ratio", "1.0"])
    seconds = time.perf_counter() - started
    peak = 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    stdout.write(json.dumps({"seconds": seconds, "peak_bytes": peak}))


def main() -> None:
    """Measure scoring or pruning, and add the figures to the contents of the output file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required="--prune_in" not in sys.argv)
    parser.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data")
    parser.add_argument("--model")
    parser.add_argument("--rows", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--prune", action="store_true", help="a million rows, in place of scoring")
    parser.add_argument("--prune_in", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.prune_in:
        prune_once(options.prune_in)
        return
    content = json.loads(options.output.read_text()) if options.output.exists() else {}
    about = {"machine": machine(), "versions": versions(), "code": code_version()}
    if options.prune:
        content["prune"] = {**about, **prune_a_million(options.repeats)}
    else:
        model = str(smollm2_folder(options.model))
        rows, labels = tokenised(options.data / "alpaca" / "train.jsonl", options.rows, model)
        content["score"] = {
            **about,
            "threads": torch.get_num_threads(),
            "data": describe_data("alpaca", options.data),
            "rows": len(rows),
            "tokens": sum(len(row["input_ids"]) for row in rows),
            "answer_tokens": sum(len(answer_positions(row["labels"])) for row in rows),
            "ways": compare(rows, labels, load_causal_lm(model).eval(), options.repeats),
        }
    options.output.write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    main()
