"""Axolotl's plugin on a stand-in of Axolotl with its recorded signatures.

What the real one does is tested by `make integrations`.
"""

import inspect
import json
import sys
from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import torch
from transformers import TrainingArguments

from qtuning import PruningArguments, UsageError, read_ledger
from qtuning.integrations.axolotl_config import REFUSED, check_config, check_resolved, options_of

from .. import runs, tiny
from ..training.test_bins import data, flat, padded
from .axolotl.recorded import FILE

pytest.importorskip("pydantic")
RECORDED = json.loads(FILE.read_text())


def forget() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "axolotl" or name.startswith(
            ("qtuning.integrations.axolotl.", "qtuning.integrations.axolotl_trainer")
        ):
            del sys.modules[name]
    sys.modules.pop("qtuning.integrations.axolotl", None)


@pytest.fixture
def plugin(monkeypatch):
    """The plugin's module, beside a stand-in of Axolotl."""
    monkeypatch.syspath_prepend(Path(__file__).parent / "stand_in")
    forget()
    import qtuning.integrations.axolotl as module

    yield module
    forget()


def test_the_hooks_take_what_axolotl_gives_them(plugin) -> None:
    ours = {
        name: list(inspect.signature(hook).parameters)
        for name, hook in vars(plugin.QTuningPlugin).items()
        if callable(hook)
    }
    assert {"register", "get_trainer_cls", "get_training_args"} <= ours.keys()
    assert ours == {name: RECORDED["plugin"][name] for name in ours}


def test_the_trainer_overrides_what_is_there(plugin) -> None:
    assert RECORDED["trainer"]["_create_multipack_sampler"] == ["self", "base_sampler", "dataset"]
    assert {"batch_size", "batch_max_len"} <= set(RECORDED["sampler"]["__init__"])


def test_no_name_of_ours_is_one_of_theirs() -> None:
    ours = {spec.name for spec in fields(PruningArguments)}
    assert not ours & {*RECORDED["config"], *RECORDED["arguments"]}
    assert "qtuning" not in RECORDED["config"]
    # use_ray is read before the config is validated.
    assert set(REFUSED) <= {*RECORDED["config"], "use_ray"}, "no key is misspelt"


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (
            {"qtuning": {"sample_ratios": 0.5}},
            "qtuning.sample_ratios .* did you mean sample_ratio?",
        ),
        ({"qtuning": {"xyzzy": 1}}, "qtuning.xyzzy .* docs/configuration.md lists the options"),
        ({"qtuning": {7: 1}}, "qtuning.7 "),
        ({"qtuning": 0.5}, "must be a block of options, got 0.5"),
        ({"qtuning": ["sample_ratio"]}, "must be a block"),
        ({"qtuning": {"sample_ratio": 2}}, "sample_ratio must lie in"),
        ({"qtuning": {"sample_ratio": "0.5"}}, "sample_ratio must be a number"),
        ({"qtuning": {"sample_pruner": "nobody"}}, "nobody"),
        ({"sample_ratio": 0.5}, "stands beside the block qtuning .* indent it below `qtuning:`"),
        *(({key: "x"}, f"does not support {key} in Axolotl's config") for key in REFUSED),
        ({"context_parallel_size": 2}, "context_parallel_size above 1"),
        ({"qtuning": {"pool_factor": 2}}, "pool_factor above 1 needs max_steps"),
        (
            {"sample_packing": True, "max_steps": 5, "qtuning": {"pool_factor": 2}},
            "pool_factor above 1 does not go with sample_packing",
        ),
    ],
    ids=str,
)
def test_refused_in_one_line(plugin, capsys, config, why) -> None:
    with pytest.raises(UsageError, match=why):
        check_config(config)
    with pytest.raises(SystemExit) as ended:
        plugin.QTuningPlugin().register(config)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("qtuning: ")


@pytest.mark.parametrize(
    ("config", "why"),
    [
        ({"model_config_type": "mamba"}, "mamba"),
        ({"rl": "dpo"}, "rl"),
        (
            {"sample_packing": True, "attn_decontaminates_packing": False},
            "attn_implementation unset .* set attn_implementation to sdpa",
        ),
    ],
)
def test_refused_once_axolotl_has_completed_the_config(plugin, config, why) -> None:
    with pytest.raises(UsageError, match=why):
        check_resolved(config)
    with pytest.raises(SystemExit):
        plugin.QTuningPlugin().get_trainer_cls(config)


def test_what_is_not_set_is_not_refused(plugin) -> None:
    check_config({})
    check_config({"qtuning": None, "streaming": False, "context_parallel_size": 1})
    check_config({"qtuning": {"pool_factor": 2}, "max_steps": 3})
    check_resolved({"sample_packing": True, "attn_decontaminates_packing": True})
    config = {"qtuning": {"sample_ratio": 0.5, "score_batch_size": None}}
    check_config(config)
    assert options_of(config) == {"sample_ratio": 0.5}
    arguments = plugin.QTuningPlugin().get_training_args(config)
    assert arguments == {"sample_ratio": 0.5, "average_tokens_across_devices": True}
    assert vars(plugin)[plugin.QTuningPlugin().get_input_args().rpartition(".")[2]]


def test_no_option_of_axolotls_own_is_taken_for_a_stray_one_of_ours() -> None:
    """``eaft_alpha`` was one: ours was of the same name, and refused outside the block."""
    own = [key for key in RECORDED["config"] if key not in REFUSED]
    assert {"eaft_alpha", "eaft_k"} <= set(own)
    for key in own:
        check_config({key: 1})
    check_config({"use_eaft": False, "eaft_alpha": 0.5, "eaft_k": 20})


class Other:
    def get_trainer_cls(self, cfg):
        return object


def test_another_plugins_trainer_is_refused_wherever_it_stands(plugin, capsys) -> None:
    ours = plugin.QTuningPlugin()
    manager = plugin.PluginManager.get_instance()
    manager.plugins = {"qtuning": ours, "other.Plugin": Other()}
    with pytest.raises(SystemExit):
        ours.get_trainer_cls({})
    assert "the plugin other.Plugin brings a trainer of its own" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        ours.post_trainer_create({}, Other())
    assert "the trainer is a Other of another plugin" in capsys.readouterr().err


@dataclass
class Arguments(PruningArguments, TrainingArguments):
    pass


@pytest.fixture
def made(plugin, tmp_path):
    """Make the trainer that Axolotl would."""

    def make(packs: bool, **settings):
        kind = plugin.QTuningPlugin().get_trainer_cls({})
        trainer = kind(
            tiny.llama(),
            Arguments(
                str(tmp_path),
                **{**runs.SETTINGS, "per_device_train_batch_size": 2, "max_steps": 3, **settings},
            ),
            train_dataset=data(),
            data_collator=flat if packs else padded,
        )
        kind.packs = packs
        return trainer

    return make


@pytest.mark.parametrize("packs", [False, True])
def test_a_run_is_pruned_and_its_loss_is_a_mean_of_tokens(made, tmp_path, packs) -> None:
    trainer = made(packs, sample_ratio=0.5)
    assert trainer.model_accepts_loss_kwargs
    trainer.train()
    kept = read_ledger(tmp_path)["kept"].to_pylist()
    assert sum(kept) * 2 == len(kept) == 3 * (8 if packs else 4)
    assert (trainer.bins == (128, 2)) if packs else (trainer.bins is None)
    assert "q-tuning" in type(trainer).tag_names


def test_a_users_mistake_ends_training_in_one_line(made, capsys, tmp_path) -> None:
    trainer = made(False)
    torch.manual_seed(0)
    with pytest.raises(SystemExit) as ended:
        trainer.train(True)
    assert ended.value.code == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line for line in lines if line.startswith("qtuning: ")] == lines[-1:]
    with pytest.raises(SystemExit):
        made(False, dataloader_drop_last=False, accelerator_config={"dispatch_batches": True})
