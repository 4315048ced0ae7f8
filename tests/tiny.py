"""A tokenizer, models and data small enough for a test, all built on the spot."""

import random
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CHAT_TEMPLATE = (
    "{% for m in messages %}<u>{{ m['role'] }} {{ m['content'] }}<e>{% endfor %}"
    "{% if add_generation_prompt %}<u>assistant {% endif %}"
)
CHARACTERS = [chr(c) for c in range(32, 127)]


def tokenizer(chat: bool = False) -> PreTrainedTokenizerFast:
    """One token a printable character, and <pad>, <eos>, <u>, <e>."""
    specials = ["<pad>", "<eos>", "<u>", "<e>"]
    vocab = {token: i for i, token in enumerate(specials + CHARACTERS)}
    core = Tokenizer(models.WordLevel(vocab, unk_token="<pad>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    fast = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<pad>",
        eos_token="<eos>",
        additional_special_tokens=["<u>", "<e>"],
    )
    if chat:
        fast.chat_template = CHAT_TEMPLATE
    return fast


def llama(seed: int = 0, **changes: Any) -> LlamaForCausalLM:
    """A random Llama of some thousand parameters."""
    config = LlamaConfig(
        **{
            "vocab_size": 100,
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 256,
            "pad_token_id": 0,
            "eos_token_id": 1,
            "bos_token_id": None,
            # Random predictions would all be alike; spread them out.
            "initializer_range": 0.3,
            **changes,
        }
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def poisoned(character: str) -> LlamaForCausalLM:
    """A model that makes NaN of every sample that has the character."""
    model = llama()
    with torch.no_grad():
        model.get_input_embeddings().weight[tokenizer()(character)["input_ids"]] = float("nan")
    return model


def rows(n: int = 24, seed: int = 0) -> list[dict[str, str]]:
    """Prompts and completions of differing length and difficulty."""
    draw = random.Random(seed)
    made = []
    for i in range(n):
        a, b = draw.randrange(100), draw.randrange(100)
        words = " ".join(["so"] * draw.randrange(6))
        made.append({"prompt": f"{a} + {b} =", "completion": f" {words} {a + b}", "id": f"s{i}"})
    return made


def dataset(n: int = 24, seed: int = 0) -> Dataset:
    """``rows`` as a data set."""
    return Dataset.from_list(rows(n, seed))


def save_model(folder: Path, chat: bool = False, **changes: Any) -> Path:
    """A model folder as a user has it: weights, config and tokenizer."""
    llama(**changes).save_pretrained(folder)
    tokenizer(chat).save_pretrained(folder)
    return folder
