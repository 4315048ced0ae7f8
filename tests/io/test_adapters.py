"""An adapter where a model is named: merged into its base, or refused in one line."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PromptTuningConfig, get_peft_model
from safetensors.torch import load_file, save_file

from qtuning.errors import UsageError
from qtuning.io import adapters as module
from qtuning.io.models import check_model, find_adapter, load_causal_lm, load_tokenizer

from .. import adapters, tiny

TOKENS = torch.arange(4, 60)[None]


@pytest.fixture
def base(tmp_path) -> Path:
    return tiny.save_model(tmp_path / "base")


@pytest.fixture
def adapter(tmp_path, base) -> Path:
    adapters.save(tmp_path / "adapter", base)
    return tmp_path / "adapter"


def refusal(name: Path, function: Any = load_causal_lm, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        function(str(name), **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def change(adapter: Path, **entries: Any) -> None:
    file = adapter / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=TOKENS).logits.double()


@pytest.mark.parametrize("tied", [False, True], ids=["two matrices", "tied"])
@pytest.mark.parametrize(
    "lora",
    [
        {},
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["embed_tokens", "lm_head"]},
        {"modules_to_save": ["embed_tokens"]},
        {"modules_to_save": ["embed_tokens", "lm_head"]},
        {"use_dora": True},
    ],
    ids=str,
)
def test_a_merged_adapter_acts_as_before_also_when_it_is_saved(tmp_path, lora, tied) -> None:
    base = tiny.save_model(tmp_path / "base", tie_word_embeddings=tied)
    wanted = logits(adapters.save(tmp_path / "adapter", base, **lora))
    model = load_causal_lm(str(tmp_path / "adapter"))
    assert type(model).__name__ == "LlamaForCausalLM"
    assert all(weight.requires_grad for weight in model.parameters())
    torch.testing.assert_close(logits(model), wanted, rtol=1e-5, atol=1e-4)
    model.save_pretrained(tmp_path / "whole")
    torch.testing.assert_close(logits(load_causal_lm(str(tmp_path / "whole"))), logits(model))
    assert (logits(load_causal_lm(str(base))) - wanted).abs().max() > 1


def test_the_tokenizer_is_the_adapters_else_the_bases(tmp_path, base) -> None:
    adapters.save(tmp_path / "with", base, chat=True)
    adapters.save(tmp_path / "without", base)
    assert load_tokenizer(str(tmp_path / "with")).chat_template == tiny.CHAT_TEMPLATE
    assert load_tokenizer(str(tmp_path / "without")).chat_template is None


def test_loading_draws_nothing_from_the_global_state(adapter) -> None:
    state = torch.random.get_rng_state()
    load_causal_lm(str(adapter))
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_whole_model_beside_an_adapter_is_the_model(base, adapter) -> None:
    for file in ("config.json", "model.safetensors"):
        shutil.copy(base / file, adapter)
    assert find_adapter(str(adapter)) is None
    (adapter / "model.safetensors").unlink()
    assert find_adapter(str(adapter)) is not None


@pytest.mark.parametrize("function", [check_model, load_causal_lm, load_tokenizer])
def test_a_missing_base_is_named_with_what_to_do(adapter, base, function) -> None:
    shutil.rmtree(base)
    said = refusal(adapter, function)
    assert f"{adapter}: the base model of this adapter cannot be loaded" in said
    assert f"{base}: no such file or folder" in said
    assert said.endswith(f"write where the base is into {adapter / 'adapter_config.json'}")


def test_a_base_on_a_hub_that_cannot_be_reached(adapter) -> None:
    change(adapter, base_model_name_or_path="no/such-model")
    check_model(str(adapter))
    said = refusal(adapter)
    assert "no/such-model: cannot load the model (" in said
    assert "write where the base is" in said


@pytest.mark.parametrize("base_name", [None, "", 3])
def test_an_adapter_that_names_no_base(adapter, base_name) -> None:
    change(adapter, base_model_name_or_path=base_name)
    assert "names no base model (base_model_name_or_path)" in refusal(adapter, check_model)


def test_an_adapter_on_an_adapter_is_refused(adapter) -> None:
    change(adapter, base_model_name_or_path=str(adapter))
    assert "is an adapter as well: merge" in refusal(adapter, check_model)


def test_damaged_adapters(adapter) -> None:
    weights = adapter / "adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-8])
    assert f"{weights}: damaged" in refusal(adapter, check_model)
    weights.unlink()
    assert "no adapter_model.safetensors in the folder" in refusal(adapter, check_model)


def test_an_adapter_of_another_model_is_refused(tmp_path, adapter) -> None:
    other = tiny.save_model(tmp_path / "other", hidden_size=64)
    change(adapter, base_model_name_or_path=str(other))
    assert "the adapter does not fit its base (" in refusal(adapter)


def test_weights_without_a_place_and_places_without_weights_are_refused(tmp_path, adapter) -> None:
    lower = tiny.save_model(tmp_path / "lower", num_hidden_layers=1)
    change(adapter, base_model_name_or_path=str(lower))
    said = refusal(adapter)
    assert "the adapter has, and its base has no place for, base_model.model.model.layers.1" in said
    assert said.endswith("and 3 more")
    file = adapter / "adapter_model.safetensors"
    save_file(
        {name: w for name, w in load_file(file).items() if "layers.0.self_attn.q" not in name}, file
    )
    change(adapter, base_model_name_or_path=str(tmp_path / "base"))
    assert "the adapter lacks base_model.model.model.layers.0.self_attn.q" in refusal(adapter)


def test_learnt_prompts_and_quantised_bases_are_refused(tmp_path, base, adapter) -> None:
    prompt = get_peft_model(
        load_causal_lm(str(base)), PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=2)
    )
    prompt.save_pretrained(tmp_path / "prompt")
    assert "PROMPT_TUNING learns a prompt" in refusal(tmp_path / "prompt")
    said = refusal(adapter, quantization_config=object())
    assert "drop --load_in_4bit" in said


def test_an_adapter_on_the_hub_is_its_files_on_this_machine(monkeypatch, adapter) -> None:
    asked = []

    def cached(name: str, file: str, revision: str | None, **how: bool) -> str | None:
        asked.append((name, file, revision))
        path = adapter / file
        return str(path) if path.exists() else None

    monkeypatch.setattr("transformers.utils.cached_file", cached)
    found = module.adapter_on_hub("org/adapter", "v2")
    assert found is not None
    assert (found.name, found.folder, found.revision) == ("org/adapter", adapter, None)
    assert ("org/adapter", "adapter_model.safetensors", "v2") in asked
    shutil.copy(adapter / "adapter_model.safetensors", adapter / "model.safetensors")
    assert module.adapter_on_hub("org/adapter", None) is None
