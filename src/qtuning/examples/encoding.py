"""A text of a chat template as tokens."""

from transformers import PreTrainedTokenizerBase


def encoded(
    text: str, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[int], list[tuple[int, int]] | None]:
    """Tokens of a text, and where in it each stands; None where the tokenizer does not say."""
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=tokenizer.is_fast)
    return list(made["input_ids"]), made["offset_mapping"] if tokenizer.is_fast else None
