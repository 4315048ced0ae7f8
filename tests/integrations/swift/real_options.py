"""Options of ms-swift and of ours together: what works, and what is refused in one line."""

import json
import sys

import pytest

from qtuning import read_ledger
from qtuning.integrations.swift_options import VARIABLE
from qtuning.integrations.swift_plugin import PLUGIN

from ... import processes
from .programs import NOTHING_PRUNED, QUARTER, same_weights
from .recorded import FILE, installed

pytest.importorskip("swift", reason="in the environment that `make integrations` makes")


def test_the_weighted_loss_dft_is_stocks_at_ratio_1(workshop):
    stock = workshop.run("dft-stock", enable_dft_loss=True)
    one = workshop.run("dft-one", NOTHING_PRUNED, enable_dft_loss=True)
    assert same_weights(stock, one)
    assert not same_weights(stock, workshop.run("dft-quarter", QUARTER, enable_dft_loss=True))


@pytest.mark.parametrize(
    ("pruning", "changes"),
    [
        ({}, {"group_by_length": True}),
        ({}, {"dataloader_num_workers": 1}),
        ({}, {"lazy_tokenize": True}),
        ({}, {"loss_scale": "all"}),
        ({}, {"train_dataloader_shuffle": False}),
        ({}, {"neftune_noise_alpha": 5.0}),
        ({}, {"torch_dtype": "bfloat16", "bf16": True, "use_cpu": True}),
        ({}, {"gradient_checkpointing": False}),
        ({}, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 8}),
        ({}, {"tuner_type": "lora", "use_dora": True}),
        ({}, {"tuner_type": "lora", "init_weights": "pissa"}),
        ({"token_mode": "drop"}, {}),
        ({"pool_factor": 2}, {}),
        ({"score_refresh": 0.5}, {}),
        ({"probe_samples": 4, "probe_steps": 2}, {}),
    ],
    ids=lambda one: next(iter(one), ""),
)
def test_options_that_work(workshop, pruning, changes):
    name = f"option-{'-'.join([*pruning, *changes])}"
    ours = workshop.run(name, {**QUARTER, **pruning}, **changes)
    kept = read_ledger(ours)["kept"].to_pylist()
    assert sum(kept) * 4 == len(kept)


def line_of(done) -> str:
    """What a refused run says of it, on one line."""
    assert done.returncode == 2, done.stderr[-4000:]
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("qtuning:")]
    return line


@pytest.mark.parametrize(
    ("pruning", "changes", "why"),
    [
        ({"sample_ratios": 0.5}, {}, "sample_ratios is no option of pruning; did you mean"),
        ({"sample_ratio": 2}, {}, "sample_ratio must lie in"),
        ({"sample_pruner": "infobatch", "token_pruner": "none"}, {}, "a sample pruner that weighs"),
        ({"one_pass": True, "pool_scope": "micro"}, {}, "does not support one_pass"),
        ({"token_weight": "dft"}, {}, "does not support token_weight"),
        ({}, {"streaming": True}, "does not support streaming"),
        ({}, {"loss_scale": "react"}, "does not support loss_scale ('react')"),
        ({}, {"loss_type": "cross_entropy"}, "does not support loss_type"),
        ({}, {"enable_channel_loss": True}, "does not support enable_channel_loss"),
        ({}, {"label_smoothing_factor": 0.1}, "does not support label_smoothing_factor"),
        ({}, {"task_type": "seq_cls", "num_labels": 2}, "task_type causal_lm are pruned"),
    ],
)
def test_refused_in_one_line(workshop, pruning, changes, why):
    assert why in line_of(workshop.try_run("refused", pruning, **changes))


def test_training_of_another_kind_is_refused_in_one_line(workshop):
    pairs = workshop.folder / "pairs.jsonl"
    messages = json.loads(workshop.data.read_text().splitlines()[0])["messages"]
    pairs.write_text(json.dumps({"messages": messages, "rejected_response": "no"}) + "\n")
    command, environment = workshop.command("dpo", {}, dataset=pairs, rlhf_type="dpo")
    command[1:3] = ["-m", "swift.cli.rlhf"]
    assert "are pruned" in line_of(processes.run(command, env=environment))


def test_continued_pre_training_is_pruned_too(workshop):
    command, environment = workshop.command("pt", QUARTER)
    command[1:3] = ["-m", "swift.cli.pt"]
    done = processes.run(command, env=environment)
    assert done.returncode == 0, done.stderr[-4000:]
    kept = read_ledger(workshop.folder / "pt")["kept"].to_pylist()
    assert sum(kept) * 4 == len(kept)


def test_without_the_variable_it_is_refused_in_one_line(workshop):
    done = workshop.try_run("unset", external_plugins=str(PLUGIN))
    assert f"{VARIABLE} is not set" in line_of(done)


def test_kept_rows_are_data_that_its_command_trains_on(workshop):
    scores, kept = workshop.folder / "scores.parquet", workshop.folder / "kept.jsonl"
    words = ["--model_name_or_path", workshop.config["model"], "--dataset_name", workshop.data]
    for verb in (
        ["score", *words, "--per_token", "--output", scores],
        ["prune", scores, "--sample_ratio", "0.5", "--format", "jsonl", "--output", kept],
    ):
        done = processes.run([sys.executable, "-m", "qtuning", *map(str, verb)])
        assert done.returncode == 0, done.stderr[-4000:]
    file = kept
    workshop.run("on-rows", dataset=str(file), max_steps=2)


def test_names_and_signatures_are_as_recorded():
    assert installed() == json.loads(FILE.read_text())
