"""ms-swift's plug-in on a stand-in of ms-swift with its recorded signatures.

What the real one does is tested by `make integrations`.
"""

import json
import runpy
import sys
from dataclasses import fields
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from datasets import Dataset
from transformers import DataCollatorForSeq2Seq

from qtuning import PruningArguments, UsageError, read_ledger
from qtuning.commands.main import main
from qtuning.integrations.swift_options import (
    ARGUMENTS,
    NOT_PRUNED,
    REFUSED,
    TASK,
    TRAINER,
    VARIABLE,
    options_of,
    refuse_options,
)
from qtuning.integrations.swift_plugin import PLUGIN

from .. import device, runs, tiny
from .swift.recorded import FILE

RECORDED = json.loads(FILE.read_text())
REFUSED_VALUES = {"sequence_parallel_size": 2, "loss_scale": "react", "loss_type": "x"}


def forget() -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "swift" or name == "qtuning.integrations.swift_trainer":
            del sys.modules[name]


@pytest.fixture
def factory(monkeypatch, tmp_path):
    """ms-swift's factory once it has run the plug-in, beside a stand-in of the rest."""
    pruning = tmp_path / "pruning.yaml"
    pruning.write_text("sample_ratio: 0.5")
    monkeypatch.setenv(VARIABLE, str(pruning))
    about = tmp_path / "site" / "ms_swift-4.6.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: ms_swift\nVersion: 4.6.0\n")
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(Path(__file__).parent / "stand_in")
    forget()
    runpy.run_path(str(PLUGIN))
    yield sys.modules["swift.trainers"].TrainerFactory
    forget()


@pytest.fixture
def options(tmp_path):
    settings = {**runs.SETTINGS, **device.arguments(), "output_dir": str(tmp_path / "out")}
    return {**settings, "max_steps": 3, "packing": False, "sequence_parallel_size": 1}


def line_of(capsys) -> str:
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("qtuning: ")
    return line


def test_the_names_that_it_uses_are_recorded() -> None:
    assert RECORDED["trainers"][TASK] == "swift.trainers.Seq2SeqTrainer"
    assert RECORDED["training_arguments"].keys() == RECORDED["trainers"].keys()
    assert REFUSED.keys() <= set(RECORDED["options"])
    assert RECORDED["loader"]["get_train_dataloader"] == ["self", "skip_batches"]
    assert RECORDED["mixin"]["__init__"][:5] == [
        *("self", "model", "args", "template", "train_dataset")
    ]


def test_no_option_of_ours_has_the_name_of_one_of_theirs() -> None:
    assert not {spec.name for spec in fields(PruningArguments)} & set(RECORDED["options"])


def test_fields_that_are_looked_at_are_not_training_arguments_already(factory) -> None:
    kind = factory.get_cls(TASK, factory.TRAINING_ARGS_MAPPING)
    added = set(vars(kind)["__annotations__"])
    assert added == REFUSED.keys() - set(RECORDED["arguments"])


def test_the_plug_in_stands_alone_in_the_folder_that_ms_swift_puts_on_the_path() -> None:
    assert {path.name for path in PLUGIN.parent.glob("*.py")} == {"__init__.py", PLUGIN.name}


def test_the_command_tells_where_it_is(capsys) -> None:
    assert main(["swift"]) == 0
    assert Path(capsys.readouterr().out.strip()) == PLUGIN
    assert PLUGIN.is_file()


def test_the_plug_in_replaces_two_names_and_refuses_the_rest(factory) -> None:
    assert RECORDED["trainers"] | {TASK: TRAINER} == factory.TRAINER_MAPPING
    others = dict.fromkeys(RECORDED["training_arguments"], NOT_PRUNED)
    assert others | {TASK: ARGUMENTS} == factory.TRAINING_ARGS_MAPPING


@pytest.mark.parametrize("task", sorted(set(RECORDED["trainers"]) - {TASK}))
def test_training_of_another_kind_is_refused_in_one_line(factory, options, capsys, task) -> None:
    with pytest.raises(SystemExit) as ended:
        factory.get_training_args(options, task)
    assert ended.value.code == 2
    assert "are pruned" in line_of(capsys)


@pytest.mark.parametrize("name", REFUSED)
def test_options_that_cannot_be_pruned_are_refused(factory, options, capsys, name) -> None:
    value = REFUSED_VALUES.get(name, True)
    with pytest.raises(UsageError, match=f"does not support {name}"):
        refuse_options({name: value})
    with pytest.raises(SystemExit) as ended:
        factory.get_training_args({**options, name: value})
    assert ended.value.code == 2
    assert name in line_of(capsys)


def test_what_is_not_set_is_not_refused() -> None:
    refuse_options({})
    refuse_options({"loss_scale": "last_round", "packing": None, "sequence_parallel_size": 1})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("sample_ratios: 0.5", "sample_ratios is no option of pruning; did you mean sample_ratio"),
        ("xyzzy: 1", "xyzzy is no option of pruning; see docs/configuration.md"),
        ("sample_ratio: 2", "sample_ratio must lie in"),
        ("sample_pruner: os:getpid", "would run code that a file names"),
        ("- 1", "must be a mapping"),
        (None, "No such file"),
    ],
)
def test_a_file_of_options_that_is_refused(tmp_path, content, why) -> None:
    path = tmp_path / "pruning.yaml"
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=why):
        options_of({VARIABLE: str(path)})


def test_without_the_variable_it_is_refused(factory, options, capsys, monkeypatch) -> None:
    monkeypatch.delenv(VARIABLE)
    with pytest.raises(SystemExit):
        factory.get_training_args(options)
    assert f"{VARIABLE} is not set" in line_of(capsys)


def test_a_plug_in_that_comes_later_is_not_let_train_unpruned(factory, options, capsys) -> None:
    factory.TRAINER_MAPPING[TASK] = "other.Trainer"
    with pytest.raises(SystemExit):
        factory.get_training_args(options)
    assert "the trainer is other.Trainer of another plug-in" in line_of(capsys)


def test_megatron_swift_is_refused(factory, capsys, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "swift.megatron", ModuleType("swift.megatron"))
    with pytest.raises(SystemExit):
        runpy.run_path(str(PLUGIN))
    assert "Megatron-SWIFT" in line_of(capsys)


def trained(factory, options, *, is_multimodal=False, resume=None):
    """Train as ms-swift does, from its options."""
    args = factory.get_training_args(options)
    model = tiny.llama()
    model.model_meta = SimpleNamespace(is_multimodal=is_multimodal)
    tokenizer = tiny.tokenizer()
    rows = [tokenizer(row["prompt"] + row["completion"])["input_ids"] for row in tiny.rows(24)]
    trainer = factory.get_cls(TASK, factory.TRAINER_MAPPING)(
        model=model,
        args=args,
        template=SimpleNamespace(data_collator=DataCollatorForSeq2Seq(tokenizer)),
        train_dataset=Dataset.from_list([{"input_ids": row, "labels": row} for row in rows]),
    )
    trainer.train(resume)
    return trainer


def test_a_run_is_pruned_as_the_file_says(factory, options, tmp_path) -> None:
    trainer = trained(factory, options)
    assert (trainer.args.sample_ratio, trainer.args.token_ratio) == (0.5, 0.5)
    kept = read_ledger(tmp_path / "out")["kept"].to_pylist()
    assert sum(kept) * 2 == len(kept)
    with pytest.raises(TypeError, match="skip"):
        trainer.get_train_dataloader(skip=1)
    assert len(trainer.get_train_dataloader(skip_batches=2)) == 4


def test_a_users_mistake_ends_the_program_in_one_line(factory, options, capsys, tmp_path) -> None:
    (tmp_path / "out" / "checkpoint-1").mkdir(parents=True)
    with pytest.raises(SystemExit) as ended:
        trained(factory, options, resume=str(tmp_path / "out" / "checkpoint-1"))
    assert ended.value.code == 2
    with pytest.raises(SystemExit):
        trained(factory, options, is_multimodal=True)
    lines = capsys.readouterr().err.splitlines()
    assert "images, video or sound" in lines[-1]
