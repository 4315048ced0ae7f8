"""Two gloo processes decide and train as one."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from qtuning import read_ledger, read_probe

from .. import processes, runs, tiny
from . import worker

pytestmark = pytest.mark.cpu("several ranks, which talk over gloo")
REPOSITORY = Path(__file__).parents[2]
# Neither SGD nor this norm hides a wrong factor on the gradients, as Adam and clipping would.
ONE_PASS = {"one_pass": True, "pool_scope": "micro", "optim": "sgd", "learning_rate": 0.02}
ONE_PASS |= {"max_grad_norm": 1e9}
RELEASED = {"entropy_over": "all", "token_budget": "pool", "fill_tokens": "side"}
RELEASED |= {"protect_eos": False, "token_ratio": 0.3}
# One sample a step, since the loss of the routers depends on who shares a micro-batch.
EXPERTS = {"experts": True, "optim": "sgd", "learning_rate": 0.02, "max_grad_norm": 1e9}
DECISIONS = ["epoch", "step", "sample_id", "n_tokens", "quadrant", "kept", "filled", "tokens_kept"]
DECISIONS += ["scored"]
ROWS = 22  # 16 in the first step, 6 in the last: the loader repeats rows to make it even


def launch(
    folder: Path, n_ranks: int, rows: int = ROWS, *, command: bool = False, **settings
) -> None:
    """Train in several processes: forked ones, or with ``command`` those of `accelerate launch`."""
    start = launched if command else forked
    arguments = [str(folder), json.dumps(settings), str(rows)]
    start("tests.distributed.worker", n_ranks, *arguments)


def alone(folder: Path, **settings) -> int:
    """What the worker does, in this process; the number of steps."""
    made = worker.model(settings.pop("poison", None), settings.pop("experts", False))
    trainer = runs.pruning(folder, data=tiny.dataset(ROWS), model=made, **settings)
    trainer.train()
    trainer.save_model()
    return trainer.state.global_step


def forked(module: str, n_ranks: int, *arguments: str) -> None:
    with tempfile.TemporaryDirectory() as logs:
        processes.launch(module, n_ranks, arguments, Path(logs))


def launched(module: str, n_ranks: int, *arguments: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # accelerate starts several processes only as "multi_gpu"; without GPUs they talk over gloo.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--num_machines=1"]
    command += ["--multi_gpu"] if n_ranks > 1 else ["--cpu"]
    command += [f"--num_processes={n_ranks}", f"--main_process_port={port}"]
    command += ["--mixed_precision=no", "--dynamo_backend=no", "-m", module]
    done = subprocess.run(
        [*command, *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        capture_output=True,
        text=True,
        timeout=processes.WAIT,
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"token_mode": "drop", "sample_ratio": 0.0625, "protect_eos": False},
        {**EXPERTS, "sample_ratio": 0.0625, "token_pruner": "none"},
        {"sample_pruner": "random", "token_pruner": "random"},
        {"pool_factor": 2, "error_scale": "log_ppl", "fill_tokens": "side", "command": True},
        {"score_refresh": 0.25},
        {**RELEASED},
        {**RELEASED, "token_rule": "and", "pool_scope": "micro"},
        {**ONE_PASS, **RELEASED},
        {"score_refresh": 0.0, "sample_pruner": "q-tuning-gain"},
        {**ONE_PASS, "sample_pruner": "random"},
        {**ONE_PASS, "sample_pruner": "tests.distributed.worker:first_pool"},
        {**ONE_PASS, "sample_pruner": "tests.distributed.worker:every_other_pool"},
        {**ONE_PASS, "gradient_checkpointing": True},
        {**ONE_PASS, "poison": "7"},
    ],
    ids=[
        "q-tuning",
        "one rank has nothing to train on",
        "experts, and one rank has nothing to train on",
        "random",
        "larger pools",
        "last known scores",
        "one budget a pool",
        "one budget a micro-batch, by the AND rule",
        "one pass, one budget a micro-batch",
        "scores made once, and answers without their prompts",
        "one pass, random samples",
        "one pass, one rank has nothing to train on",
        "one pass, what is remembered",
        "one pass, checkpointing",
        "one pass, bad samples",
    ],
)
def test_two_processes_decide_and_train_as_one(tmp_path, settings) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    settings = dict(settings)
    command = settings.pop("command", False)
    steps = alone(one, gradient_accumulation_steps=4, **settings)
    launch(two, 2, command=command, gradient_accumulation_steps=2, **settings)
    first, second = read_ledger(one), read_ledger(two)
    assert first.select(DECISIONS).equals(second.select(DECISIONS))
    assert first.num_rows == 2 * ROWS  # every candidate once an epoch, repetitions left out
    if settings.get("sample_pruner") != "random":
        for column in ("ppl", "entropy"):
            a, b = (torch.tensor(t[column].to_pylist()) for t in (first, second))
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4, equal_nan=True)
    weights, others = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    for name, weight in weights.items():
        poisoned = "poison" in settings and "embed" in name
        torch.testing.assert_close(weight, others[name], rtol=1e-3, atol=1e-4, equal_nan=poisoned)
    ranks = [json.loads((two / f"rank{rank}.json").read_text()) for rank in range(2)]
    assert ranks[0] == ranks[1]
    assert ranks[0]["steps"] == steps


@pytest.mark.slow
def test_where_the_last_rows_are_dropped_none_is_taken_for_a_repetition(tmp_path) -> None:
    launch(tmp_path, 2, gradient_accumulation_steps=1, dataloader_drop_last=True)
    ledger = read_ledger(tmp_path).to_pydict()
    assert len(ledger["sample_id"]) == 2 * 16  # of 22 rows, twice 8 in each of two epochs
    for epoch in (0, 1):
        names = [n for n, e in zip(ledger["sample_id"], ledger["epoch"], strict=True) if e == epoch]
        assert len(set(names)) == 16
    assert sum(ledger["kept"]) == 16


@pytest.mark.slow
@pytest.mark.skipif(not runs.RESUMES_TOGETHER, reason="this transformers does not on the CPU")
@pytest.mark.parametrize("switch", [{}, {"score_refresh": 0.25}], ids=["exact", "last scores"])
def test_two_processes_resume(tmp_path, switch) -> None:
    whole, again = tmp_path / "whole", tmp_path / "again"
    settings = {"save_strategy": "steps", "save_steps": 1, "gradient_accumulation_steps": 2}
    settings |= switch
    launch(whole, 2, **settings)
    launch(again, 2, **settings)
    ledger = read_ledger(again)
    checkpoint = again / "checkpoint-2"
    launch(again, 2, **settings, resume_from_checkpoint=str(checkpoint))
    assert read_ledger(again).equals(ledger)
    assert ledger.equals(read_ledger(whole))
    weights, others = (load_file(f / "model.safetensors") for f in (whole, again))
    assert all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.slow
def test_two_processes_score_the_probe_as_one_and_train_as_without(tmp_path) -> None:
    probe = {"probe_samples": 5, "probe_steps": 2}  # one rank scores three of them, one two
    alone(tmp_path / "one", gradient_accumulation_steps=4, **probe)
    launch(tmp_path / "two", 2, gradient_accumulation_steps=2, **probe)
    launch(tmp_path / "without", 2, gradient_accumulation_steps=2)
    first, second = read_probe(tmp_path / "one"), read_probe(tmp_path / "two")
    where = ["step", "epoch", "sample_id", "n_tokens"]
    assert first.select(where).equals(second.select(where))
    assert set(second["step"].to_pylist()) == {0, 2, 4}
    for column in ("ppl", "entropy"):
        a, b = (torch.tensor(t[column].to_pylist()) for t in (first, second))
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)
    assert read_ledger(tmp_path / "two").equals(read_ledger(tmp_path / "without"))
    weights, others = (load_file(tmp_path / f / "model.safetensors") for f in ("two", "without"))
    assert all(torch.equal(weights[name], others[name]) for name in weights)
