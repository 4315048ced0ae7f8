"""Options of LLaMA-Factory and of ours together: what works, and what is refused in one line."""

import json
import re

import pytest

from qtuning import read_ledger
from qtuning.commands.main import main
from qtuning.integrations.llamafactory_options import VARIABLES

from .programs import NOTHING_PRUNED, OURS, QUARTER, STOCK, same_weights
from .recorded import FILE, installed

pytest.importorskip("llamafactory", reason="in the environment that `make integrations` makes")


@pytest.mark.parametrize("loss", ["use_dft_loss", "use_eaft_loss"])
def test_losses_that_llamafactory_weighs_by_token_are_stocks_at_ratio_1(workshop, loss):
    stock = workshop.run(STOCK, f"{loss}-stock", **{loss: True})
    one = workshop.run(OURS, f"{loss}-one", **{loss: True}, **NOTHING_PRUNED)
    assert same_weights(stock, one)
    ours = workshop.run(OURS, f"{loss}-quarter", **{loss: True}, **QUARTER)
    assert not same_weights(stock, ours)


@pytest.mark.parametrize(
    "changes",
    [
        {"sample_pruner": "infobatch", "token_pruner": "none", "max_steps": 10},
        {"one_pass": True, "pool_scope": "micro", "sample_ratio": 0.5},
    ],
    ids=["infobatch", "one_pass"],
)
def test_what_replaces_the_loss_trains(workshop, changes):
    ours = workshop.run(OURS, next(iter(changes)), **changes)
    kept = read_ledger(ours)["kept"].to_pylist()
    assert any(kept)
    assert not all(kept)


@pytest.mark.parametrize(
    "changes",
    [
        {"streaming": True, "buffer_size": 8, "dataloader_num_workers": 1},
        {"disable_shuffling": True, "gradient_accumulation_steps": 1},
        {"train_on_prompt": True},
        {
            "val_size": 0.2,
            "eval_strategy": "steps",
            "eval_steps": 2,
            "compute_accuracy": True,
            "load_best_model_at_end": True,
        },
        {"finetuning_type": "lora", "lora_target": "q_proj,v_proj", "use_dora": True},
        {"finetuning_type": "lora", "loraplus_lr_ratio": 16.0},
        {"finetuning_type": "lora", "pissa_init": True},
        {"finetuning_type": "oft"},
        {"neftune_noise_alpha": 5.0},
        {"plot_loss": True, "include_effective_tokens_per_second": True},
        {"optim": "adafactor", "lr_scheduler_type": "cosine", "warmup_steps": 1},
        {"token_mode": "drop"},
        {"probe_samples": 4, "probe_steps": 2},
        {"score_refresh": 0.5},
        {"pool_factor": 2},
        {"use_muon": True},
        {"bf16": True},
        {"save_total_limit": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_options_that_work(workshop, changes):
    ours = workshop.run(OURS, f"option-{'-'.join(changes)}", **{**QUARTER, **changes})
    kept = read_ledger(ours)["kept"].to_pylist()
    assert sum(kept) * 4 == len(kept)


def refused(workshop, capsys, words):
    """What the command says of a config that it refuses, on one line."""
    file = workshop.folder / "refused.yaml"
    file.write_text(json.dumps({**workshop.config, "output_dir": str(workshop.folder / "refused")}))
    assert main(["llamafactory", "train", str(file), *words]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("qtuning:")]
    return line


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["sample_ratios=0.5"], "unknown option sample_ratios.*did you mean sample_ratio"),
        (["lerning_rate=0.5"], "unknown option lerning_rate.*did you mean learning_rate"),
        (["sample_ratio=2"], r"sample_ratio must lie in \(0, 1\]"),
        (["packing=true"], "packing: pruning does not support it"),
        (["neat_packing=true"], "packing: pruning does not support it"),
        (["stage=pt"], "stage: pt is not pruned, only sft"),
        (["use_asft_loss=true"], "use_asft_loss: pruning does not support it"),
        (["use_hyper_parallel=true"], "use_hyper_parallel: pruning does not support it"),
        (["dataset=null"], "LLaMA-Factory: Please specify dataset"),
        (["dataset=suns"], "LLaMA-Factory: .*suns"),
        (["model_name_or_path=/nowhere"], "/nowhere"),
        (["finetuning_type=full", "use_dora=true"], "LLaMA-Factory: .*use_dora"),
    ],
)
def test_refused_in_one_line(workshop, capsys, words, why):
    assert re.search(why, refused(workshop, capsys, words))


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_that_change_the_trainer_are_refused(workshop, capsys, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert f"{name}: LLaMA-Factory then" in refused(workshop, capsys, [])


def test_flags_do_as_well_as_a_file(workshop, capsys):
    config = {**workshop.config, "output_dir": str(workshop.folder / "flags"), **QUARTER}
    words = [word for key, value in config.items() for word in (f"--{key}", str(value))]
    assert main(["llamafactory", "train", *words]) == 0
    kept = read_ledger(workshop.folder / "flags")["kept"].to_pylist()
    assert sum(kept) * 4 == len(kept)
    assert main(["llamafactory", "train", *words, "--sample_ratois", "0.5"]) == 2
    assert "did you mean sample_ratio?" in capsys.readouterr().err
    assert main(["llamafactory", "train", *words, "--max_steps", "many"]) == 2
    assert "qtuning: LLaMA-Factory: argument --max_steps" in capsys.readouterr().err


def test_names_and_signatures_are_as_recorded():
    assert installed() == json.loads(FILE.read_text())
