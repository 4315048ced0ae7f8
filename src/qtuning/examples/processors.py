"""Tokenizers and processors: one interface to what both know of text."""

from typing import Any

from transformers import PreTrainedTokenizerBase


def tokenizer_of(processing_class: Any) -> PreTrainedTokenizerBase | None:
    """The tokenizer of a processing class, which may be one itself; None if it has none."""
    inner = getattr(processing_class, "tokenizer", None)
    for one in (processing_class, inner):
        if isinstance(one, PreTrainedTokenizerBase):
            return one
    return None


def chat_template_of(processing_class: Any) -> str | None:
    """The chat template of a tokenizer or a processor; a processor's own goes first."""
    template: str | None = getattr(processing_class, "chat_template", None)
    tokenizer = tokenizer_of(processing_class)
    return template or (None if tokenizer is None else tokenizer.chat_template)
