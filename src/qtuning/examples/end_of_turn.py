"""Which token ids end an answer: a model that never trains on them learns not to stop."""

from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase


def end_of_turn_ids(model: PreTrainedModel, processing_class: Any) -> Tensor:
    """All ids that end a turn: of the model, of the tokenizer and of the chat template.

    They may differ: base models end with ``<|endoftext|>`` what their template ends with
    ``<|im_end|>``.
    """
    ids: set[int] = set()
    for known in (model.generation_config, model.config.get_text_config()):
        if known is not None and known.eos_token_id is not None:
            found = known.eos_token_id
            ids |= {found} if isinstance(found, int) else set(found)
    if isinstance(processing_class, PreTrainedTokenizerBase):
        if processing_class.eos_token_id is not None:
            ids.add(processing_class.eos_token_id)
        if processing_class.chat_template is not None:
            ids |= _of_template(processing_class)
    return torch.tensor(sorted(ids), dtype=torch.int64)


def _of_template(tokenizer: PreTrainedTokenizerBase) -> set[int]:
    """The first special token after the assistant's words."""
    words = "answer"
    turn = [{"role": "user", "content": "question"}, {"role": "assistant", "content": words}]
    text = tokenizer.apply_chat_template(turn, tokenize=False)
    after = tokenizer(text[text.rfind(words) + len(words) :], add_special_tokens=False)
    # Llama 3's <|eot_id|> is special, but has no role that all_special_ids would know.
    special = {i for i, token in tokenizer.added_tokens_decoder.items() if token.special}
    return set(next(([i] for i in after["input_ids"] if i in special), []))
