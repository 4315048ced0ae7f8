"""Unsloth's backend for the CPU with ``QTuningTrainer``: what must be equal, and what less.

`make integrations` runs it in an environment that has Unsloth. Nothing here is of a GPU, where
Unsloth replaces much more.
"""

import json
import signal
import subprocess
import sys
import time
from importlib.util import find_spec

import pytest
import torch
from safetensors.torch import load_file

from qtuning import read_ledger

from ... import processes, tiny
from ...project.pages import MODEL, blocks

if find_spec("unsloth") is None:
    pytest.skip("in the environment that `make integrations` makes", allow_module_level=True)

NOTHING_PRUNED = {"sample_ratio": 1.0, "token_ratio": 1.0}
QUARTER = {"sample_ratio": 0.25, "token_ratio": 0.5}


def weights(folder):
    """The weights, or those of the adapter."""
    (file,) = folder.glob("*model.safetensors")
    return load_file(file)


def same_weights(one, other):
    first, second = weights(one), weights(other)
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def logged(folder, name):
    state = folder / "checkpoint-4" / "trainer_state.json"
    return [line[name] for line in json.loads(state.read_text())["log_history"] if name in line]


@pytest.mark.parametrize("lora", [False, True], ids=["full", "lora"])
def test_at_ratio_1_it_is_unsloths_own_run_and_at_a_quarter_less(workshop, lora):
    kind = "lora" if lora else "full"
    stock, one, quarter = workshop.run(
        {"name": f"{kind}-stock", "prunes": False, "lora": lora, "evaluates": True},
        {"name": f"{kind}-one", "lora": lora, "evaluates": True, **NOTHING_PRUNED},
        {"name": f"{kind}-quarter", "lora": lora, **QUARTER},
    )
    assert same_weights(stock, one)
    for name in ("loss", "grad_norm"):
        assert logged(stock, name) == logged(one, name)
    kept = read_ledger(quarter)["kept"].to_pylist()
    assert sum(kept) * 4 == len(kept) == 32
    assert not same_weights(stock, quarter)
    assert (quarter / "adapter_config.json").exists() == lora


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_and_ends_as_the_undisturbed_one(workshop, number):
    settings = {"max_steps": 40, "lora": True, **QUARTER}
    name = f"stopped-{number}"
    process = workshop.start({"name": name, **settings})
    second = workshop.folder / name / "checkpoint-8"  # so that the one before is whole
    end = time.monotonic() + processes.WAIT
    while not second.exists() and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(number)
    said, _ = process.communicate(timeout=processes.WAIT)
    assert process.returncode != 0, said[-4000:]
    assert not (workshop.folder / name / "checkpoint-40").exists()
    whole, ours = workshop.run(
        {"name": f"undisturbed-{number}", **settings}, {"name": name, "resume": True, **settings}
    )
    assert same_weights(whole, ours)
    assert read_ledger(ours).equals(read_ledger(whole))


def test_options_of_ours_that_work(workshop):
    options = {
        "drop": {"token_mode": "drop"},
        "one-pass": {"one_pass": True, "pool_scope": "micro"},
        "infobatch": {"sample_pruner": "infobatch", "token_pruner": "none", "max_steps": 10},
        "refresh": {"score_refresh": 0.5},
        "weights": {"token_weight": "dft"},
    }
    runs = [{"name": name, "lora": True, **QUARTER, **more} for name, more in options.items()]
    for run in workshop.run(*runs):
        kept = read_ledger(run)["kept"].to_pylist()
        assert any(kept)
        assert not all(kept)


def test_two_processes_decide_as_one(workshop):
    (alone,) = workshop.run({"name": "alone", **QUARTER})
    words = ("-m", "torch.distributed.run", "--nproc-per-node=2", "--master-port=29618", "-m")
    run = {"name": "together", "gradient_accumulation_steps": 1, "ddp_backend": "gloo", **QUARTER}
    (together,) = workshop.run(run, words=words)
    columns = ["step", "sample_id", "kept", "tokens_kept"]
    one, two = (
        sorted(zip(*(read_ledger(run)[name].to_pylist() for name in columns), strict=True))
        for run in (alone, together)
    )
    assert one == two


def test_the_code_of_its_page_runs(tmp_path):
    tiny.save_model(tmp_path / "model", chat=True)
    tiny.dataset(32).to_json(tmp_path / "data.jsonl")
    (code,) = blocks("docs/unsloth.md", "python")
    (tmp_path / "page.py").write_text(code.code.replace(MODEL, "model"))
    run = [sys.executable, "page.py"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=processes.WAIT)
    assert done.returncode == 0, done.stderr[-4000:]
    kept = read_ledger(tmp_path / "out")["kept"].to_pylist()
    assert sum(kept) * 4 == len(kept) == 32
