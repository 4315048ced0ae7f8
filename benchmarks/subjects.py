"""The models and rows of the measurements."""

import json
import random
from pathlib import Path
from typing import Any

import torch
from cases import SMOLLM2, Case, Setting, Shape
from datasets import Dataset
from sources import RUNS, data_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from qtuning.io.models import load_causal_lm, load_tokenizer

IGNORED = -100
SMALL_LAYERS = 10
WORDS = ("the", "a", "of", "to", "and", "in", "is", "that", "it", "for", "on", "with", "as", "was")


def small_scorer(model: Path) -> Path:
    """Save a model's first layers: as fast as a smaller model, with the same tokenizer.

    This scorer is for timing only; its decisions say nothing about a trained model of that size.
    """
    folder = RUNS / f"{model.name}-{SMALL_LAYERS}-layers"
    if not (folder / "config.json").exists():
        load_tokenizer(str(model)).save_pretrained(folder)
        whole = load_causal_lm(str(model))
        whole.model.layers = whole.model.layers[:SMALL_LAYERS]
        whole.config.num_hidden_layers = SMALL_LAYERS
        whole.config.layer_types = None
        whole.save_pretrained(folder)
    return folder


def load(setting: Setting, model: Path | None) -> tuple[Any, Any]:
    """Load model (float32) and tokenizer, with every weight resident in memory."""
    if setting.model == SMOLLM2:
        assert model is not None
        pair = load_causal_lm(str(model)), load_tokenizer(str(model))
    else:
        assert isinstance(setting.model, Shape)
        pair = llama(setting.model, setting.max_length), placeholder_tokenizer()
    for weight in pair[0].parameters():  # read memory-mapped files here, not at first use
        weight.data = weight.data.clone()
    return pair


def llama(shape: Shape, length: int) -> LlamaForCausalLM:
    """Make a Llama with random weights, equal in every call."""
    config = LlamaConfig(
        vocab_size=shape.vocab,
        hidden_size=shape.hidden,
        intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads // 2,
        max_position_embeddings=length,
        tie_word_embeddings=True,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return LlamaForCausalLM(config)


def placeholder_tokenizer() -> PreTrainedTokenizerFast:
    """Make a tokenizer with padding only, which trainers require even for tokenised rows."""
    core = Tokenizer(WordLevel({"<pad>": 0, "<eos>": 1}, unk_token="<pad>"))
    return PreTrainedTokenizerFast(tokenizer_object=core, pad_token="<pad>", eos_token="<eos>")


def rows(case: Case, data: Path | None, warm_up: int) -> tuple[Dataset, Dataset]:
    """Return short rows for the warm-up, and the rows to measure; they differ by repeat."""
    setting, n = case.setting, warm_up + case.setting.rows
    draw = random.Random(case.repeat)
    if setting.data == "tokens":
        assert isinstance(setting.model, Shape)
        token_rows = [_token_row(draw, setting, short=i < warm_up) for i in range(n)]
        return Dataset.from_list(token_rows[:warm_up]), Dataset.from_list(token_rows[warm_up:])
    text_rows = _text_rows(draw, data_file(setting.data, data), n)
    short = [
        {
            "id": f"warm-up-{row['id']}",
            "prompt": row["prompt"][:80],
            "completion": row["completion"][:40],
        }
        for row in text_rows[:warm_up]
    ]
    return Dataset.from_list(short), Dataset.from_list(text_rows[warm_up:])


def _text_rows(draw: random.Random, file: Path | None, n: int) -> list[dict[str, str]]:
    if file is None:
        return [_generated_row(draw, i) for i in range(n)]
    with file.open(encoding="utf-8") as lines:
        sample = draw.sample([json.loads(line) for line in lines], n)
    return [{key: row[key] for key in ("id", "prompt", "completion")} for row in sample]


def _generated_row(draw: random.Random, number: int) -> dict[str, str]:
    prompt = " ".join(draw.choices(WORDS, k=draw.randrange(10, 60)))
    completion = " ".join(draw.choices(WORDS, k=draw.randrange(5, 200)))
    return {"id": f"generated-{number}", "prompt": prompt, "completion": f" {completion}"}


def _token_row(draw: random.Random, setting: Setting, short: bool) -> dict[str, list[int]]:
    """Draw a row of token ids, log-uniform in length from an eighth of ``max_length`` on."""
    assert isinstance(setting.model, Shape)
    longest = setting.max_length
    length = 16 if short else round(longest * 8 ** -draw.random())
    ids = [draw.randrange(2, setting.model.vocab) for _ in range(length)]
    prompt = length // 3
    return {"input_ids": ids, "labels": [IGNORED] * prompt + ids[prompt:]}
