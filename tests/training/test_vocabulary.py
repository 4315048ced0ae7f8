"""Tokens that a model has no embedding for are told before they reach it."""

import json

import pytest
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoTokenizer

from qtuning import UsageError
from qtuning.commands import main as cli
from qtuning.io.token_ids import vocabulary_of

from .. import device, runs, tiny


@pytest.mark.parametrize(
    "lora",
    [
        {"target_modules": ["q_proj", "embed_tokens"]},
        {"target_modules": ["q_proj"], "trainable_token_indices": [3]},
        {"target_modules": ["q_proj"], "modules_to_save": ["embed_tokens"]},
    ],
    ids=str,
)
def test_adapters_of_embeddings_are_counted_through_and_trained(tmp_path, lora) -> None:
    config = LoraConfig(task_type="CAUSAL_LM", **lora)
    assert vocabulary_of(get_peft_model(tiny.llama(), config)) == 100
    runs.pruning(tmp_path, peft=config, max_steps=1).train()


def test_the_sample_of_a_stream_is_named(tmp_path) -> None:
    rows = [{"input_ids": [5, 6, 100 if i == 3 else 8], "id": f"s{i}"} for i in range(8)]
    stream = Dataset.from_list(rows).to_iterable_dataset()
    trainer = runs.pruning(tmp_path, data=stream, max_steps=2)
    with pytest.raises(UsageError, match="sample s3: input_ids has 100, and the model has 100"):
        trainer.train()


@pytest.mark.parametrize("how", [[], ["--packing", "true", "--max_length", "64"]], ids=str)
@pytest.mark.parametrize("verb", ["train", "score"])
def test_streams_with_new_tokens_are_one_line(tmp_path, capfd, verb, how) -> None:
    model = tiny.save_model(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(model)
    tokenizer.add_tokens(["<think>", "</think>"], special_tokens=True)
    tokenizer.save_pretrained(model)
    rows = [*tiny.rows(7), {"prompt": "a", "completion": " <think>b</think>", "id": "t"}]
    data = tmp_path / "data.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    flags = ["--model_name_or_path", str(model), "--dataset_name", str(data), "--dataset_streaming"]
    if verb == "score":
        flags += ["--output", str(tmp_path / "s.parquet")]
    else:
        flags += [*device.flags(), "--report_to", "none", "--max_steps", "4", *how]
        flags += ["--output_dir", str(tmp_path / "out"), "--save_strategy", "no"]
    assert cli.main([verb, *flags]) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if "qtuning: " in line]
    assert len(lines) == 1
    assert "input_ids has 100, and the model has 100 tokens: use the model's own" in lines[0]


def test_ids_that_fit_pass(tmp_path) -> None:
    rows = Dataset.from_list([{"input_ids": [5, 99], "labels": [-100, 99]}] * 8)
    runs.pruning(tmp_path, data=rows, max_steps=1).train()
