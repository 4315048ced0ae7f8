"""`make soak`: a run of 2,000 steps, and what it holds over them, as a table and JSON.

Exit code 1 where memory grows by more than 1 KiB a step over the last three quarters, a file handle
or a thread is left over, or the ledger does not grow along a line.
"""

import argparse
import json
import sys
from pathlib import Path

from .. import runs, tiny
from .measure import Line, Sample, Watch, grown, line

LIMIT = 1024.0
"""Bytes a step: 2 MiB over 2,000 steps, less than what an allocator keeps or returns at will."""

KINDS = {
    "q-tuning": {},
    "drop": {"token_mode": "drop", "score_refresh": 0.25},
    "one-pass": {"one_pass": True, "pool_scope": "micro"},
    "infobatch": {"sample_pruner": "infobatch-budget", "token_pruner": "ppl"},
}
ROWS = 64


def soak(folder: Path, steps: int, every: int, **settings) -> list[Sample]:
    """Run so many steps and give the samples."""
    watch = Watch(folder, every)
    trainer = runs.pruning(
        folder,
        data=tiny.dataset(ROWS),
        model=tiny.llama(),
        max_steps=steps,
        logging_steps=50,
        save_strategy="steps",
        save_steps=max(1, steps // 10),
        save_total_limit=2,
        **settings,
    )
    trainer.add_callback(watch)
    trainer.train()
    return watch.samples


def judge(samples: list[Sample]) -> tuple[Line, Line, list[str]]:
    """The lines through memory and ledger, and what is wrong."""
    settled = samples[len(samples) // 4 :]
    steps = [s.step for s in settled]
    memory = line(steps, [s.memory for s in settled])
    written = grown(samples)
    ledger = line([s.step for s in written], [s.ledger for s in written])
    wrong = []
    if memory.slope > LIMIT:
        wrong.append(f"memory grows by {memory.slope:.0f} bytes a step")
    for name in ("handles", "threads"):
        first, last = settled[0]._asdict()[name], settled[-1]._asdict()[name]
        if last > first:
            wrong.append(f"{last - first} {name} left over")
    if ledger.worst > 0.02:
        wrong.append(f"the ledger's size is off a line by {ledger.worst:.1%}")
    return memory, ledger, wrong


def main() -> int:
    """Run every kind, print a line for each."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--every", type=int, default=20, help="steps between two samples")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument("--output_dir", type=Path, default=Path("runs/soak"))
    options = parser.parse_args()
    results, failed = {}, False
    for kind in options.kinds:
        samples = soak(options.output_dir / kind, options.steps, options.every, **KINDS[kind])
        memory, ledger, wrong = judge(samples)
        results[kind] = {
            "steps": options.steps,
            "memory_bytes_a_step": memory.slope,
            "memory_first": samples[0].memory,
            "memory_last": samples[-1].memory,
            "ledger_bytes_a_step": ledger.slope,
            "ledger_off_the_line": ledger.worst,
            "handles": [samples[0].handles, samples[-1].handles],
            "threads": [samples[0].threads, samples[-1].threads],
            "wrong": wrong,
            "samples": samples,
        }
        failed = failed or bool(wrong)
        print(
            f"{kind}: {options.steps} steps, memory {memory.slope:+.0f} B a step "
            f"({samples[0].memory / 2**20:.0f} to {samples[-1].memory / 2**20:.0f} MiB), "
            f"ledger {ledger.slope:.0f} B a step, off a line by {ledger.worst:.2%}, "
            f"handles {samples[0].handles} to {samples[-1].handles}; {', '.join(wrong) or 'good'}",
            flush=True,
        )
        (options.output_dir / "soak.json").write_text(json.dumps(results, indent=1))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
