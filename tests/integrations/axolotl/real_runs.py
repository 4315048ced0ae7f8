"""Axolotl's own training, pruned: what must be equal, and what must be less.

`make integrations` runs it in an environment that has Axolotl.
"""

import json
import os
import signal

import pytest
import torch

from qtuning import read_ledger

from ... import processes
from ..stopping import stopped
from .programs import (
    ENVIRONMENT,
    LORA,
    NOTHING_PRUNED,
    PACKED,
    PLUGIN,
    QUARTER,
    TRAIN,
    history,
    losses,
    same_weights,
    weights,
)

pytest.importorskip("axolotl", reason="in the environment that `make integrations` makes")


def test_at_ratio_1_weights_and_losses_are_those_of_stock_bit_by_bit(workshop, stock):
    ours = workshop.run("one", **NOTHING_PRUNED)
    assert losses(ours) == losses(stock)
    assert same_weights(ours, stock)


@pytest.mark.parametrize("real_batches", [True, False], ids=["a bin a row", "one long bin"])
def test_with_sample_packing_the_bins_are_those_of_stock(workshop, packed_stock, real_batches):
    changes = {**PACKED, "multipack_real_batches": real_batches}
    stock = packed_stock if real_batches else workshop.run("long-stock", **changes)
    ours = workshop.run(f"packed-one-{real_batches}", **changes, **NOTHING_PRUNED)
    assert losses(ours) == losses(stock)
    assert same_weights(ours, stock)


def test_lora_at_ratio_1(workshop):
    stock = workshop.run("lora-stock", **PACKED, **LORA)
    ours = workshop.run("lora-one", **PACKED, **LORA, **NOTHING_PRUNED)
    assert same_weights(ours, stock)


def test_accumulation_makes_stock_a_mean_of_means_and_ours_a_mean_of_tokens(workshop):
    """The one difference at ratio 1.0, which the docs tell."""
    changes = {**PACKED, "gradient_accumulation_steps": 2}
    stock = workshop.run("accumulated-stock", **changes)
    ours = workshop.run("accumulated-one", **changes, **NOTHING_PRUNED)
    assert losses(ours) != losses(stock)
    torch.testing.assert_close(losses(ours), losses(stock), rtol=0.02, atol=0.0)


@pytest.mark.parametrize("packed", [PACKED, {}], ids=["packed", "padded"])
@pytest.mark.parametrize("kind", [{}, LORA], ids=["full", "lora"])
def test_a_quarter_of_the_samples_and_half_the_tokens(workshop, packed, kind):
    name = f"quarter-{len(packed)}-{len(kind)}"
    changes = {**packed, **kind, **QUARTER, "gradient_accumulation_steps": 2}
    ours = workshop.run(name, **changes)
    ledger = read_ledger(ours).to_pydict()
    assert set(ledger["step"]) == {1, 2, 3, 4}
    for step in (1, 2, 3, 4):
        kept = [k for k, s in zip(ledger["kept"], ledger["step"], strict=True) if s == step]
        assert sum(kept) == max(1, len(kept) // 4)
    budget = json.loads((ours / "budget.json").read_text())
    assert 0 < budget["kept_answer_tokens"] < budget["answer_tokens"]
    assert (ours / "adapter_config.json").exists() == bool(kind)
    arguments = torch.load(ours / "checkpoint-2" / "training_args.bin", weights_only=False)
    assert (arguments.sample_ratio, arguments.token_ratio) == (0.25, 0.5)


def test_packing_decides_on_each_sample_by_itself(workshop):
    """Scores do not depend on what else is in the bin: those of one long bin are the same."""
    scores = []
    for real_batches in (True, False):
        run = workshop.run(
            f"alone-{real_batches}",
            **PACKED,
            **QUARTER,
            multipack_real_batches=real_batches,
            max_steps=1,
            sample_packing_sequentially=True,
            curriculum_sampling=True,
        )
        ledger = read_ledger(run).to_pydict()
        scores.append(dict(zip(ledger["sample_id"], ledger["ppl"], strict=True)))
    both = scores[0].keys() & scores[1].keys()
    assert both
    for sample in both:
        assert scores[0][sample] == pytest.approx(scores[1][sample], rel=1e-4)


LONG = {**PACKED, **QUARTER, "max_steps": 24, "auto_resume_from_checkpoints": True}


@pytest.fixture(scope="module")
def undisturbed(workshop):
    """The output folder of a run that nobody stops."""
    return workshop.run("undisturbed", **LONG)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_and_ends_as_the_undisturbed_one(workshop, undisturbed, number):
    """In the midst of an epoch of shuffled bins; Axolotl itself finds the checkpoint."""
    name, folder = f"stopped-{number}", workshop.folder
    command, second = workshop.command(name, **LONG), folder / name / "checkpoint-4"
    code, said = stopped(command, folder / f"{name}.log", second, number, env=ENVIRONMENT)
    assert code == (143 if number == signal.SIGTERM else -number)
    if number == signal.SIGTERM:
        assert "stopped by SIGTERM" in said
        assert "Traceback" not in said
    ours = workshop.run(name, **LONG)
    assert same_weights(undisturbed, ours)
    assert read_ledger(ours).equals(read_ledger(undisturbed))


def test_two_processes(workshop):
    """On the CPU: Axolotl puts a model of several processes on GPUs unless memory has a map."""
    # The ranks of a test are daemons, which may not have children that load.
    alone = {"dataloader_num_workers": 0, "dataloader_prefetch_factor": None}
    changes = {**PACKED, **alone, "max_memory": {"cpu": "8GiB"}, "max_steps": 3}
    variables = {**ENVIRONMENT, "ACCELERATE_USE_CPU": "true", "GLOO_SOCKET_IFNAME": "lo"}
    name = "two-processes"
    file = workshop.command(name, **changes, **QUARTER)[-1]
    before = {key: os.environ.get(key) for key in variables}
    os.environ.update(variables)
    try:
        processes.launch(TRAIN[1], 2, [file], workshop.folder)
    finally:
        for key, value in before.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})
    ledger = read_ledger(workshop.folder / name).to_pydict()
    assert set(ledger["step"]) == {1, 2, 3}
    first = [s for s, step in zip(ledger["sample_id"], ledger["step"], strict=True) if step == 1]
    kept = [k for k, step in zip(ledger["kept"], ledger["step"], strict=True) if step == 1]
    assert len(set(first)) == len(first), "no row is counted twice"
    assert sum(kept) == len(kept) // 4
    assert weights(workshop.folder / name)


@pytest.mark.parametrize("packs", [True, False])
def test_evaluation_is_axolotls_own(workshop, packs):
    changes = {"val_set_size": 0.25, "eval_steps": 2, "eval_sample_packing": packs}
    stock = workshop.run(f"evaluated-stock-{packs}", **PACKED, **changes)
    ours = workshop.run(f"evaluated-one-{packs}", **PACKED, **changes, **NOTHING_PRUNED)
    first, second = (
        [entry["eval_loss"] for entry in history(run) if "eval_loss" in entry]
        for run in (stock, ours)
    )
    assert first == second
    assert len(first) >= 2
    pruned = workshop.run(f"evaluated-quarter-{packs}", **PACKED, **changes, **QUARTER)
    assert [entry for entry in history(pruned) if "eval_loss" in entry]


def test_other_options_of_pruning(workshop):
    """Dropped tokens and a probe, with bins: positions are numbered anew in each sample.

    Beside options of Axolotl's own that are named much like some of ours.
    """
    options = {"token_mode": "drop", "probe_samples": 8, "probe_steps": 2, "score_refresh": 0.5}
    theirs = {"use_eaft": False, "eaft_alpha": 0.5, "eaft_k": 5}
    run = workshop.run("options", **PACKED, **PLUGIN, **theirs, qtuning=options)
    assert list((run / "probe").glob("*.parquet"))


def test_an_option_on_the_command_line(workshop):
    run = workshop.run("on-the-line", "--qtuning__sample_ratio=0.5", **QUARTER)
    arguments = torch.load(run / "checkpoint-4" / "training_args.bin", weights_only=False)
    assert arguments.sample_ratio == 0.5


def test_its_other_command(workshop):
    program = ["-m", "axolotl.cli.main", "train"]
    done = workshop.try_run("command", "--launcher", "python", program=program, **QUARTER)
    assert done.returncode == 0, done.stderr[-3000:]
    assert (workshop.folder / "command" / "budget.json").exists()
