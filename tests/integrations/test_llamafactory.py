"""`qtuning llamafactory train` on a stand-in of LLaMA-Factory with its recorded signatures.

What the real one does is tested by `make integrations`.
"""

import json
import os
import re
import signal
import sys

import pytest
import torch
from huggingface_hub import ModelCard
from safetensors.torch import load_file
from transformers import TrainerCallback

from qtuning import read_ledger
from qtuning.commands.main import main
from qtuning.integrations.llamafactory_options import PRUNING, VARIABLES

from .llamafactory.recorded import FILE


def test_no_option_of_ours_has_the_name_of_one_of_theirs():
    options = json.loads(FILE.read_text())["options"]
    assert not set(PRUNING) & {name for names in options.values() for name in names}


def said(capsys) -> str:
    """What the command says, which is one line; loading a model has a bar of its own."""
    lines = capsys.readouterr().err.splitlines()
    (line,) = [one for one in lines if one.strip() and "it/s]" not in one]
    return line


def test_a_run_is_pruned_and_leaves_llamafactory_as_it_was(command, config, tmp_path):
    words_before = list(sys.argv)
    assert main(command("sample_ratio=0.25", token_ratio=0.5)) == 0
    out = tmp_path / "out"
    kept = read_ledger(out)["kept"].to_pylist()
    assert sum(kept) * 4 == len(kept) == 24
    assert {"q-tuning", "llama-factory"} <= set(ModelCard.load(out / "README.md").data.tags)
    arguments = torch.load(out / "checkpoint-3" / "training_args.bin", weights_only=False)
    assert (arguments.sample_ratio, arguments.overwrite_output_dir) == (0.25, False)
    workflow = sys.modules["llamafactory.train.sft.workflow"]
    assert workflow.CustomSeq2SeqTrainer.__name__ == "CustomSeq2SeqTrainer"
    assert sys.argv == words_before


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"sample_ratios": 0.5}, "unknown option sample_ratios: .*, did you mean sample_ratio?"),
        ({"lerning_rate": 0.5}, "unknown option lerning_rate: .*, did you mean learning_rate?"),
        ({"xyzzy": 1}, "unknown option xyzzy: .*, see docs/llamafactory.md"),
        ({"sample_ratio": 2.0}, "sample_ratio must lie in"),
        ({"sample_pruner": "os:getpid"}, "would run code that a file names"),
        ({"stage": "dpo"}, "stage: dpo is not pruned, only sft is"),
        ({"packing": True}, "packing: pruning does not support it"),
        ({"neat_packing": True}, "neat_packing: pruning does not support it"),
        ({"use_asft_loss": True}, "use_asft_loss: pruning does not support it"),
        ({"use_hyper_parallel": True}, "use_hyper_parallel: pruning does not support it"),
        ({"use_mca": True}, "use_mca: pruning does not support it"),
        ({"media_dir": "a processor"}, "models with a processor"),
        ({"dataset": None}, "LLaMA-Factory: Please specify dataset for training.$"),
        ({"dataset": "suns"}, "LLaMA-Factory: Undefined dataset suns"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_refused_in_one_line(command, capsys, changes, why):
    assert main(command(**changes)) == 2
    assert re.search(why, said(capsys))


def test_code_that_the_command_line_names_is_trusted(command, tmp_path):
    assert main(command('sample_pruner="tests.integrations.test_llamafactory:all_of_them"')) == 0
    assert all(read_ledger(tmp_path / "out")["kept"].to_pylist())


def all_of_them(pool, args):
    return torch.ones(len(pool), dtype=torch.bool)


@pytest.mark.parametrize("name", VARIABLES)
def test_variables_that_change_the_trainer_are_refused(command, capsys, monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert main(command()) == 2
    assert f"{name}: LLaMA-Factory then" in said(capsys)


def test_where_it_is_not_installed(capsys):
    assert main(["llamafactory", "train", "x.yaml"]) == 2
    assert "not installed in this Python: pip install llamafactory==0.9.5" in said(capsys)


def test_another_version_is_told_once(version_found, capsys):
    version_found("0.9.6")
    assert main(["llamafactory", "train"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "LLaMA-Factory 0.9.6 was not tried with pruning, only 0.9.5 was" in first
    assert "no config" in second


def test_one_that_cannot_be_imported(version_found, capsys, monkeypatch):
    version_found("0.9.5")
    monkeypatch.setitem(sys.modules, "llamafactory.extras", None)
    assert main(["llamafactory", "train", "x.yaml"]) == 2
    assert "cannot be imported" in said(capsys)


def test_other_verbs_are_left_to_it(capsys):
    assert main(["llamafactory", "export"]) == 2
    assert "only train is pruned" in said(capsys)


@pytest.mark.parametrize("words", [[], ["-h"], ["train", "--help"]])
def test_help_lists_our_options(capsys, words):
    with pytest.raises(SystemExit) as left:
        main(["llamafactory", *words])
    assert left.value.code == 0
    shown = capsys.readouterr().out
    assert "config.yaml [key=value ...]" in shown
    assert "--sample_ratio" in shown


class StopAt(TrainerCallback):
    """Sends SIGTERM to its own process."""

    def on_step_begin(self, args, state, control, **kwargs):
        if state.global_step == 1:
            os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_writes_a_checkpoint_and_the_run_goes_on(command, tmp_path, capsys, monkeypatch):
    assert main(command(output_dir=str(tmp_path / "whole"))) == 0
    tuner = sys.modules["llamafactory.train.tuner"]
    stock = tuner.run_exp
    with monkeypatch.context() as patched:
        patched.setattr(tuner, "run_exp", lambda args: stock(args, [StopAt()]))
        assert main(command()) == 143
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert (tmp_path / "out" / "checkpoint-2").exists()
    # The one that LLaMA-Factory finds next was not finished.
    (tmp_path / "out" / "checkpoint-3").mkdir()
    assert main(command()) == 0
    assert (tmp_path / "out" / "checkpoint-3" / "pruning_seal.json").exists()
    whole, ours = (load_file(tmp_path / run / "model.safetensors") for run in ("whole", "out"))
    assert all(torch.equal(whole[name], ours[name]) for name in whole)
    assert read_ledger(tmp_path / "whole").equals(read_ledger(tmp_path / "out"))
