"""Greedy generation in batches: the same texts for the same model, prompts and batch size."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import (
    GenerationConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    StoppingCriteria,
    StoppingCriteriaList,
)

from ..errors import UsageError


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    stops: Sequence[str] = (),
    batch_size: int = 8,
) -> list[str]:
    """Continue prompts with the most likely token each time.

    Prompts of similar length go together. The model is in eval mode meanwhile.

    Args:
        model: The model, on its device.
        tokenizer: The model's tokenizer; it needs a token to pad with, or one that ends a text.
        prompts: The texts to continue.
        max_new_tokens: Tokens after which a text ends at the latest.
        stops: Texts at which a text ends; what begins with one is cut off.
        batch_size: Prompts in a batch.

    Returns:
        What was generated for each prompt, without the prompt and without special tokens.

    Raises:
        UsageError: A prompt has no tokens, or leaves no room for an answer in the model's context.
    """
    tokens = [tokenizer(prompt)["input_ids"] for prompt in prompts]
    _check_lengths(model, tokens, max_new_tokens)
    order = sorted(range(len(prompts)), key=lambda place: -len(tokens[place]))
    was_training = model.training
    model.eval()
    try:
        texts = [""] * len(prompts)
        for start in range(0, len(order), batch_size):
            places = order[start : start + batch_size]
            batch = [tokens[place] for place in places]
            for place, text in zip(
                places, _continued(model, tokenizer, batch, max_new_tokens, stops), strict=True
            ):
                texts[place] = text
    finally:
        model.train(was_training)
    return texts


def _check_lengths(
    model: PreTrainedModel, tokens: Sequence[Sequence[int]], max_new_tokens: int
) -> None:
    room = getattr(model.config, "max_position_embeddings", None)
    for ids in tokens:
        if not ids:
            raise UsageError("a prompt without tokens cannot be continued")
        if room is not None and len(ids) + max_new_tokens > room:
            raise UsageError(
                f"a prompt of {len(ids)} tokens leaves no room for {max_new_tokens} more in a "
                f"model of {room} positions: lower max_new_tokens"
            )


def _continued(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    batch: Sequence[Sequence[int]],
    max_new_tokens: int,
    stops: Sequence[str],
) -> list[str]:
    """The texts that follow a batch of prompts, padded on the left."""
    ends = _ends(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else (ends or [0])[0]
    width = max(map(len, batch))
    ids = torch.tensor([[pad] * (width - len(one)) + [*one] for one in batch])
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in batch])
    with torch.no_grad():
        out = model.generate(
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(
                do_sample=False,
                max_new_tokens=max_new_tokens,
                eos_token_id=ends or None,
                pad_token_id=pad,
                use_cache=True,
            ),
            stopping_criteria=StoppingCriteriaList([_Stops(tokenizer, stops, width)]),
        )
    texts = tokenizer.batch_decode(out[:, width:], skip_special_tokens=True)
    return [_cut(text, stops) for text in texts]


def _ends(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Ids of the tokens that end a text."""
    config: Any = model.generation_config
    known = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    return sorted({one for one in (*known, tokenizer.eos_token_id) if one is not None})


def _cut(text: str, stops: Sequence[str]) -> str:
    for stop in stops:
        text = text.partition(stop)[0]
    return text


class _Stops(StoppingCriteria):
    """Ends each text of a batch once it has a stop.

    The ``stop_strings`` of transformers would also find a stop that the prompt begins.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, stops: Sequence[str], prompt_width: int
    ) -> None:
        self._tokenizer, self._stops, self._width = tokenizer, stops, prompt_width

    def __call__(self, input_ids: Tensor, scores: Any, **_: Any) -> Tensor:
        texts = self._tokenizer.batch_decode(input_ids[:, self._width :])
        found = [any(stop in text for stop in self._stops) for text in texts]
        return torch.tensor(found, device=input_ids.device)
