"""A tiny model in the place of one whose weights are not needed."""

from collections.abc import Sequence

from transformers import LlamaConfig, LlamaForCausalLM


def stand_in(vocabulary: int, ends: Sequence[int] = ()) -> LlamaForCausalLM:
    """A tiny model for a trainer that only prepares rows, and requires a model.

    Args:
        vocabulary: Number of its token ids.
        ends: Ids at which it stops to generate.
    """
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=4,
        intermediate_size=4,
        num_hidden_layers=1,
        num_attention_heads=1,
        bos_token_id=None,
        eos_token_id=list(ends) or None,
    )
    return LlamaForCausalLM(config)
