"""LLaMA-Factory's own training, pruned: what must be equal, and what must be less.

`make integrations` runs it in an environment that has LLaMA-Factory.
"""

import json
import signal

import pytest
import torch
from huggingface_hub import ModelCard

from qtuning import read_ledger

from ..stopping import stopped
from .programs import NOTHING_PRUNED, OURS, QUARTER, STOCK, losses, same_weights, weights

pytest.importorskip("llamafactory", reason="in the environment that `make integrations` makes")


@pytest.mark.parametrize("kind", ["full", "lora", "freeze"])
def test_at_ratio_1_weights_and_losses_are_those_of_stock_bit_by_bit(workshop, kind):
    changes = {"finetuning_type": kind, "freeze_trainable_layers": 1, "lora_rank": 4}
    stock = workshop.run(STOCK, f"{kind}-stock", **changes)
    ours = workshop.run(OURS, f"{kind}-one", **changes, **NOTHING_PRUNED)
    assert losses(stock) == losses(ours)
    assert same_weights(stock, ours)


@pytest.mark.parametrize("kind", ["full", "lora", "freeze"])
def test_a_quarter_of_the_samples_and_half_the_tokens(workshop, stock, kind):
    changes = {"finetuning_type": kind, "freeze_trainable_layers": 1, "lora_rank": 4}
    ours = workshop.run(OURS, f"{kind}-quarter", **changes, **QUARTER)
    ledger = read_ledger(ours).to_pydict()
    assert sum(ledger["kept"]) / len(ledger["kept"]) == 0.25
    budget = json.loads((ours / "budget.json").read_text())
    assert 0 < budget["kept_answer_tokens"] < budget["answer_tokens"] / 2
    assert (ours / "adapter_config.json").exists() == (kind == "lora")
    if kind == "full":
        assert not same_weights(stock, ours)
    card = ModelCard.load(ours / "README.md")
    assert "sample_ratio" in card.text
    assert "2509.23873" in card.text
    tags = card.data.tags
    assert {"q-tuning", "llama-factory", kind} <= set(tags)
    arguments = torch.load(ours / "checkpoint-2" / "training_args.bin", weights_only=False)
    assert arguments.sample_ratio == 0.25


LONG = {"max_steps": 40, **QUARTER}


@pytest.fixture(scope="module")
def undisturbed(workshop):
    """The output folder of a run that nobody stops."""
    return workshop.run(OURS, "undisturbed", **LONG)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_stopped_run_goes_on_and_ends_as_the_undisturbed_one(workshop, undisturbed, number):
    name, folder = f"stopped-{number}", workshop.folder
    command, second = workshop.command(OURS, name, **LONG), folder / name / "checkpoint-4"
    code, said = stopped(command, folder / f"{name}.log", second, number)
    if number == signal.SIGTERM:
        assert code == 143
        assert "stopped by SIGTERM" in said
        assert "Traceback" not in said
    else:
        assert code == -number
    before = len(losses_of_log(workshop.folder / name))
    assert before < 40
    ours = workshop.run(OURS, name, **LONG)
    assert same_weights(undisturbed, ours)
    assert read_ledger(ours).equals(read_ledger(undisturbed))


def losses_of_log(folder):
    log = folder / "trainer_log.jsonl"
    return log.read_text().splitlines() if log.exists() else []


def test_two_processes_that_the_command_starts_decide_as_one(workshop):
    alone = workshop.run(OURS, "alone", **QUARTER)
    environment = {"FORCE_TORCHRUN": "1", "NPROC_PER_NODE": "2", "GLOO_SOCKET_IFNAME": "lo"}
    together = workshop.run(
        OURS, "together", env=environment, gradient_accumulation_steps=1, **QUARTER
    )
    columns = ["step", "sample_id", "kept", "tokens_kept"]
    one, two = (
        sorted(zip(*(read_ledger(run)[name].to_pylist() for name in columns), strict=True))
        for run in (alone, together)
    )
    assert one == two
    first, second = weights(alone), weights(together)
    for name in first:
        torch.testing.assert_close(first[name], second[name], rtol=1e-4, atol=1e-5)


def test_evaluation_and_prediction_are_llamafactorys_own(workshop):
    changes = {
        "val_size": 0.2,
        "do_eval": True,
        "do_predict": True,
        "predict_with_generate": True,
        "eval_strategy": "steps",
        "eval_steps": 2,
        "max_new_tokens": 4,
        "per_device_eval_batch_size": 4,
    }
    stock = workshop.run(STOCK, "predict-stock", **changes)
    ours = workshop.run(OURS, "predict-one", **changes, **NOTHING_PRUNED)
    name = "generated_predictions.jsonl"
    assert (stock / name).read_text() == (ours / name).read_text()
    for name in ("eval_results.json", "predict_results.json"):
        first, second = (json.loads((run / name).read_text()) for run in (stock, ours))
        timed = {key for key in first if "runtime" in key or "per_second" in key or "time" in key}
        assert first.keys() - timed
        assert {k: v for k, v in first.items() if k not in timed} == {
            k: v for k, v in second.items() if k not in timed
        }


def test_a_run_that_only_predicts(workshop, stock):
    changes = {
        "do_train": False,
        "dataset": None,
        "eval_dataset": "sums",
        "do_predict": True,
        "predict_with_generate": True,
        "max_new_tokens": 4,
        "model_name_or_path": str(stock),
    }
    first = workshop.run(STOCK, "only-stock", **changes)
    second = workshop.run(OURS, "only-ours", **changes, **QUARTER)
    name = "generated_predictions.jsonl"
    assert (first / name).read_text() == (second / name).read_text()
