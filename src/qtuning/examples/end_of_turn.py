"""Token ids that end an answer: a model that never trains on these ids learns not to stop."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase, ProcessorMixin

from .example import Example, gold_of
from .processors import chat_template_of, tokenizer_of


def end_of_turn_ids(model: PreTrainedModel, processing_class: Any) -> Tensor:
    """All ids that end a turn: of the model, of the tokenizer and of the chat template.

    The three may differ: a base model may use ``<|endoftext|>`` where its chat template uses
    ``<|im_end|>``.

    Returns:
        ``(n,)`` int64, ascending.
    """
    ids: set[int] = set()
    for config in (model.generation_config, model.config.get_text_config()):
        eos = getattr(config, "eos_token_id", None)  # the text config of Qwen3-VL has none
        if eos is not None:
            ids |= {eos} if isinstance(eos, int) else set(eos)
    tokenizer, template = tokenizer_of(processing_class), chat_template_of(processing_class)
    if tokenizer is not None:
        if tokenizer.eos_token_id is not None:
            ids.add(tokenizer.eos_token_id)
        if template is not None:
            parts = isinstance(processing_class, ProcessorMixin)
            ids |= _of_template(tokenizer, template, in_parts=parts)
    return torch.tensor(sorted(ids), dtype=torch.int64)


def turn_ends(example: Example, answers: Tensor, ids: Tensor) -> Tensor:
    """Which answer tokens of an example end a turn, ``(T,)`` bool.

    Args:
        example: The example, from ``Labels.of``.
        answers: Positions of the answer tokens, ``(T,)``.
        ids: Ids that end a turn, from ``end_of_turn_ids``.
    """
    return torch.isin(gold_of(example, answers), ids)


def _of_template(tokenizer: PreTrainedTokenizerBase, template: str, *, in_parts: bool) -> set[int]:
    """Id of the first special token after the assistant's words; an empty set if there is none.

    Args:
        tokenizer: The tokenizer.
        template: The chat template.
        in_parts: Whether it takes contents in parts, as templates of processors do.
    """
    words = "answer"
    turn = [
        {"role": role, "content": [{"type": "text", "text": said}] if in_parts else said}
        for role, said in (("user", "question"), ("assistant", words))
    ]
    text = tokenizer.apply_chat_template(turn, tokenize=False, chat_template=template)
    suffix = tokenizer(text[text.rfind(words) + len(words) :], add_special_tokens=False)
    # Not all_special_ids: Llama 3's <|eot_id|> is special, but has no role that is listed there.
    special_ids = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return set(next(([i] for i in suffix["input_ids"] if i in special_ids), []))
