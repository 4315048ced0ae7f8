"""Runs killed at random moments and resumed, until they end as the undisturbed run did.

``python -m tests.faults.series --output runs/faults`` is the long series: every kind of run, on one
process and on two, 20 kills each.
"""

import argparse
import json
import random
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from qtuning import read_ledger
from qtuning.run.checkpoints import damage

from .. import processes
from . import worker
from .moments import PHASES

KINDS: dict[str, dict[str, Any]] = {
    "q-tuning": {"score_refresh": 0.5},
    "one pass": {"one_pass": True, "pool_scope": "micro"},
    "infobatch": {"sample_pruner": "infobatch"},
    "one kept": {"sample_ratio": 0.125},  # of two ranks one has nothing to train on
}
STEPS = 10


def survive(folder: Path, kind: str, n_ranks: int, kills: int, seed: int) -> dict[str, Any]:
    """Kill and resume, and compare.

    Args:
        folder: Where the runs go.
        kind: One of ``KINDS``.
        n_ranks: Processes.
        kills: How many.
        seed: Of the moments.

    Returns:
        Kills by phase, processes started and runs that came to their end.

    Raises:
        AssertionError: A run ended otherwise than the undisturbed one, or could not go on.
    """
    draw = random.Random(f"{kind}/{n_ranks}/{seed}")
    settings = {
        **KINDS[kind],
        "gradient_accumulation_steps": 2 // n_ranks,
        "rows": 40,
        "save_total_limit": 2,
    }
    whole = folder / "whole"
    assert _live(whole, n_ranks, settings, {}) == [0] * n_ranks, "the undisturbed run failed"
    moments = json.loads((whole / "moments.json").read_text())
    assert set(moments) == set(PHASES)
    killed: Counter[str] = Counter()
    lives, ended = 0, 0
    while killed.total() < kills or ended == 0:
        run = folder / f"run-{ended}"
        while True:
            last: dict[str, Any] = {}
            if killed.total() < kills:
                phase = draw.choice(sorted(moments))
                # Half of the lives do not come further than two steps or so.
                moment = draw.randint(1, 1 + moments[phase] * draw.choice((2, STEPS)) // STEPS)
                last = {"rank": draw.randrange(n_ranks), "phase": phase, "moment": moment}
            codes = _live(run, n_ranks, settings, last)
            lives += 1
            if codes == [0] * n_ranks:
                break
            assert codes[last["rank"]] == -signal.SIGKILL, (last, codes)
            killed[last["phase"]] += 1
        _compare(run, whole)
        ended += 1
        shutil.rmtree(run)
    return {
        "kind": kind,
        "processes": n_ranks,
        "kills": killed.total(),
        "kills_by_phase": dict(killed),
        "starts": lives,
        "runs_ended_like_the_undisturbed_one": ended,
    }


def _live(folder: Path, n_ranks: int, settings: dict[str, Any], last: dict[str, Any]) -> list[Any]:
    """Start or resume a run as its user would; exit codes."""
    folder.mkdir(parents=True, exist_ok=True)
    resume = any(damage(checkpoint) is None for checkpoint in folder.glob("checkpoint-*"))
    return processes.end(
        processes.start(n_ranks, worker.train_watched, folder, dict(settings), resume, last)
    )


def _compare(run: Path, whole: Path) -> None:
    assert read_ledger(run).equals(read_ledger(whole)), "ledger"
    last = sorted(path.name for path in whole.glob("checkpoint-*"))
    assert sorted(path.name for path in run.glob("checkpoint-*")) == last
    for name in last:
        a, b = run / name, whole / name
        assert damage(a) is None
        assert sorted(p.name for p in a.iterdir()) == sorted(p.name for p in b.iterdir())
        for path in sorted(a.iterdir()):
            other = b / path.name
            if path.suffix == ".safetensors":
                assert _same(load_file(path), load_file(other)), path
            elif path.name in ("optimizer.pt", "scheduler.pt"):
                assert _same(*(torch.load(p, weights_only=True) for p in (path, other))), path
            elif path.suffix == ".parquet" or path.name.startswith("rng_state"):
                assert path.read_bytes() == other.read_bytes(), path
    assert _same(load_file(run / "model.safetensors"), load_file(whole / "model.safetensors"))


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(_same, a, b))
    return bool(a == b)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=Path("runs/faults"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    failed, results = 0, []
    for n_ranks in (1, 2):
        for kind in KINDS:
            started = time.monotonic()
            folder = args.output / f"{kind}-{n_ranks}".replace(" ", "-")
            shutil.rmtree(folder, ignore_errors=True)
            try:
                result = survive(folder, kind, n_ranks, args.kills, args.seed)
                shutil.rmtree(folder)
            except AssertionError as error:  # its folder stays
                result = {"kind": kind, "processes": n_ranks, "failed": str(error)}
                failed += 1
            result["seconds"] = round(time.monotonic() - started, 1)
            results.append(result)
            print(json.dumps(result), flush=True)
            path = args.output / "kills.json"
            path.write_text(json.dumps({"seed": args.seed, "results": results}, indent=1) + "\n")
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
