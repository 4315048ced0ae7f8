"""Random models of many families, some ten thousand parameters each, with logits spread out."""

from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel

VOCABULARY = 97

_TOKENS: dict[str, Any] = {
    "vocab_size": VOCABULARY,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "initializer_range": 0.3,
}
_COMMON: dict[str, Any] = {
    **_TOKENS,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
_WINDOWS = {"head_dim": 8, "sliding_window": 4, "final_logit_softcapping": 4.0}

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("LlamaConfig", _COMMON),
    "qwen3": ("Qwen3Config", {**_COMMON, "head_dim": 8}),
    "gemma2": ("Gemma2Config", {**_COMMON, **_WINDOWS}),
    "gemma3": (
        "Gemma3TextConfig",
        {**_COMMON, **_WINDOWS, "layer_types": ["sliding_attention", "full_attention"]},
    ),
    "gpt2": ("GPT2Config", {**_TOKENS, "n_embd": 32, "n_layer": 2, "n_head": 4}),
    "mixtral": (
        "MixtralConfig",
        {
            **_COMMON,
            "num_local_experts": 4,
            "num_experts_per_tok": 2,
            "output_router_logits": True,
        },
    ),
    "granite": ("GraniteConfig", {**_COMMON, "logits_scaling": 3.0}),
    "hyperclovax": ("HyperCLOVAXConfig", {**_COMMON, "logits_scaling": 3.0}),
    "minicpm3": (
        "MiniCPM3Config",
        {
            **_COMMON,
            "num_key_value_heads": 4,
            "q_lora_rank": 8,
            "kv_lora_rank": 8,
            "qk_nope_head_dim": 4,
            "qk_rope_head_dim": 4,
            "v_head_dim": 8,
            "head_dim": 4,
            "dim_model_base": 8,
        },
    ),
    "cohere": ("CohereConfig", {**_COMMON, "logit_scale": 0.25}),
    "falcon_h1": (
        "FalconH1Config",
        {
            **_COMMON,
            "lm_head_multiplier": 0.25,
            "mamba_d_ssm": 32,
            "mamba_n_heads": 4,
            "mamba_d_head": 8,
            "mamba_n_groups": 1,
            "mamba_d_state": 8,
            "mamba_expand": 1,
            "mamba_chunk_size": 8,
        },
    ),
    "phi": ("PhiConfig", _COMMON),  # its head has a bias
}
# Older transformers lack some.
ARCHITECTURES = [name for name, (config, _) in CONFIGS.items() if hasattr(transformers, config)]

# The settings that leave the logits as the head makes them.
UNSHAPED: dict[str, dict[str, Any]] = {
    "gemma2": {"final_logit_softcapping": None},
    "gemma3": {"final_logit_softcapping": None},
    "granite": {"logits_scaling": 1.0},
    "hyperclovax": {"logits_scaling": 1.0},
    "minicpm3": {"dim_model_base": 32},
    "cohere": {"logit_scale": 1.0},
    "falcon_h1": {"lm_head_multiplier": 1.0},
}


def build(name: str, attention: str | None = None, **changes: Any) -> PreTrainedModel:
    """A random model in eval mode; ``changes`` go into its config."""
    config_class, settings = CONFIGS[name]
    config = getattr(transformers, config_class)(**{**settings, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
        head = model.get_output_embeddings()
        if head.bias is not None:  # zero when new
            torch.nn.init.normal_(head.bias)
    return model.eval()


def examples(lengths: tuple[int, ...] = (13, 5, 9, 2)) -> list[dict[str, list[int]]]:
    """Samples with a prompt of one token and, further on, ignored tokens amid the answer.

    The first sample has no prompt: its first token has a label that nothing predicts.
    """
    g = torch.Generator().manual_seed(1)
    made = []
    for i, length in enumerate(lengths):
        ids = torch.randint(3, VOCABULARY, (length,), generator=g)
        labels = ids.clone()
        labels[: min(i, 1)] = -100
        labels[4::5] = -100
        made.append({"input_ids": ids.tolist(), "labels": labels.tolist()})
    return made


def padded(samples: list[dict[str, list[int]]], side: str = "right") -> dict[str, Tensor]:
    """A batch with an attention mask."""
    width = max(len(sample["input_ids"]) for sample in samples)
    filling = {"input_ids": 0, "labels": -100, "attention_mask": 0}
    batch: dict[str, Tensor] = {}
    for key, filler in filling.items():
        lines = []
        for sample in samples:
            values = sample.get(key, [1] * len(sample["input_ids"]))
            gap = [filler] * (width - len(values))
            lines.append(gap + values if side == "left" else values + gap)
        batch[key] = torch.tensor(lines)
    return batch
