"""ms-swift's own training, pruned: what must be equal, and what must be less.

`make integrations` runs it in an environment that has ms-swift.
"""

import json
import signal
import sys

import pytest
import torch
from huggingface_hub import ModelCard

from qtuning import read_ledger
from qtuning.integrations.swift_options import VARIABLE
from qtuning.integrations.swift_plugin import PLUGIN

from ... import processes
from ..stopping import stopped
from .programs import LORA, NOTHING_PRUNED, QUARTER, logged, same_weights, weights

pytest.importorskip("swift", reason="in the environment that `make integrations` makes")

KINDS = {"full": {}, "lora": LORA}


@pytest.mark.parametrize("kind", KINDS)
def test_at_ratio_1_weights_and_losses_are_those_of_stock_bit_by_bit(workshop, kind):
    changes = {**KINDS[kind], "split_dataset_ratio": 0.1, "eval_steps": 2, "max_steps": 6}
    stock = workshop.run(f"{kind}-stock", **changes)
    ours = workshop.run(f"{kind}-one", NOTHING_PRUNED, **changes)
    assert same_weights(stock, ours)
    for name in ("loss", "grad_norm", "eval_loss"):
        assert logged(stock, name) == logged(ours, name)


@pytest.mark.parametrize("kind", KINDS)
def test_a_quarter_of_the_samples_and_half_the_tokens(workshop, stock, kind):
    ours = workshop.run(f"{kind}-quarter", QUARTER, **KINDS[kind])
    ledger = read_ledger(ours).to_pydict()
    assert sum(ledger["kept"]) / len(ledger["kept"]) == 0.25
    budget = json.loads((ours / "budget.json").read_text())
    assert 0 < budget["kept_answer_tokens"] < budget["answer_tokens"] / 2
    if kind == "full":
        assert not same_weights(stock, ours)
    card = ModelCard.load(ours / "README.md")
    assert "q-tuning" in card.data.tags
    assert "sample_ratio" in card.text
    arguments = torch.load(ours / "checkpoint-2" / "training_args.bin", weights_only=False)
    assert arguments.sample_ratio == 0.25


LONG = {"max_steps": 40}  # five steps an epoch


@pytest.fixture(scope="module")
def undisturbed(workshop):
    """The output folder of a run that nobody stops."""
    return workshop.run("undisturbed", QUARTER, **LONG)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_and_ends_as_the_undisturbed_one(workshop, undisturbed, number):
    name, folder = f"stopped-{number}", workshop.folder
    command, environment = workshop.command(name, QUARTER, **LONG)
    log, second = folder / f"{name}.log", folder / name / "checkpoint-8"
    code, said = stopped(command, log, second, number, env=environment)
    if number == signal.SIGTERM:
        assert code == 143
        assert "stopped by SIGTERM" in said
    else:
        assert code == -number
    checkpoint = workshop.folder / name / "checkpoint-6"
    ours = workshop.run(name, QUARTER, resume_from_checkpoint=str(checkpoint), **LONG)
    assert same_weights(undisturbed, ours)
    assert read_ledger(ours).equals(read_ledger(undisturbed))


def test_a_checkpoint_that_was_not_finished_is_refused_in_one_line(workshop):
    folder = workshop.folder / "damaged" / "checkpoint-2"
    folder.mkdir(parents=True)
    done = workshop.try_run("damaged", QUARTER, resume_from_checkpoint=str(folder))
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_two_processes_that_its_command_starts_decide_as_one(workshop):
    alone = workshop.run("alone", QUARTER)
    # Without these two, processes on the CPU do not find each other, with pruning or without.
    cpu = {"use_cpu": True, "ddp_backend": "gloo"}
    command, environment = workshop.command(
        "together", QUARTER, gradient_accumulation_steps=1, **cpu
    )
    command[1:3] = ["-m", "swift.cli.main", "sft"]
    environment |= {"NPROC_PER_NODE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    environment["MASTER_PORT"] = "29617"
    done = processes.run(command, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    together = workshop.folder / "together"
    columns = ["step", "sample_id", "kept", "tokens_kept"]
    one, two = (
        sorted(zip(*(read_ledger(run)[name].to_pylist() for name in columns), strict=True))
        for run in (alone, together)
    )
    assert one == two
    first, second = weights(alone), weights(together)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


def test_a_file_with_the_variable_in_it_does_as_well_as_flags(workshop, stock):
    pruning = workshop.folder / "file-pruning.yaml"
    pruning.write_text(json.dumps(NOTHING_PRUNED))
    output = workshop.folder / "file"
    file = workshop.folder / "file.yaml"
    more = {"output_dir": str(output), "ENV": {VARIABLE: str(pruning)}}
    file.write_text(json.dumps({**workshop.config, **more}))
    command = ["-m", "swift.cli.main", "sft", str(file), "--external_plugins", str(PLUGIN)]
    done = processes.run([sys.executable, *command])
    assert done.returncode == 0, done.stderr[-4000:]
    assert same_weights(stock, output)


def test_what_was_trained_is_used_without_options_of_pruning(workshop):
    ours = workshop.run("used", QUARTER)
    result = workshop.folder / "answers.jsonl"
    words = {
        "model": ours / "checkpoint-4",
        "val_dataset": workshop.data,
        "result_path": result,
        "max_new_tokens": 2,
        "max_batch_size": 8,
        "infer_backend": "transformers",
        "load_args": True,
    }
    flags = [word for key, value in words.items() for word in (f"--{key}", str(value))]
    done = processes.run([sys.executable, "-m", "swift.cli.infer", *flags])
    assert done.returncode == 0, done.stderr[-4000:]
    assert len(result.read_text().splitlines()) == 40
