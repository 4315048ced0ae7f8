"""Mean entropy of samples over all their positions, prompt included (``entropy_over`` all).

A sample of L tokens has L positions, those that its attention mask attends to; at each the model
predicts the token that follows. All L count: those of the prompt, those that predict an answer
token, and the last one, whose next token is beyond the sample. So read in the snapshot that
docs/as-released.md describes: a mean over all attended positions.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..core.answer_stats import answer_stats
from ..core.places import AnswerPlaces
from ..examples.example import Example
from .forward import Projection


def entropy_of_all(
    projection: Projection,
    places: AnswerPlaces,
    entropy: Tensor,
    batch: Mapping[str, Any],
    examples: Sequence[Example],
) -> list[Tensor]:
    """Mean entropy of each sample over all its positions, in nats, ``(1,)`` float32 on the device.

    The mean is computed in float64.

    Only the positions that predict no answer token are projected: the others are known.

    Args:
        projection: Last hidden states and head of the batch.
        places: The answer tokens, on the device of the hidden states.
        entropy: Entropy of the answer tokens in nats, ``(T,)``.
        batch: The collated batch, padded or padding-free; its attention mask may be on the device.
        examples: The examples of the batch, in order.
    """
    if not examples:
        return []
    device, length = projection.hidden.device, batch["input_ids"].shape[1]
    of_all = torch.zeros(projection.hidden.shape[:2].numel(), dtype=torch.float64, device=device)
    rows = [
        (row * length + positions).to(device, non_blocking=True)
        for row, positions in rows_and_positions(batch, examples)
    ]
    is_rest = torch.zeros(len(of_all), dtype=torch.bool, device=device)
    is_rest[torch.cat(rows)] = True
    is_rest[places.at] = False
    rest = is_rest.nonzero().squeeze(1)
    gold = torch.zeros_like(rest)  # of no consequence: the NLL is not read
    with torch.no_grad():
        stats = answer_stats(projection.at(rest), projection.weight, gold, **projection.head)
    of_all[rest] = stats[1].double()
    of_all[places.at] = entropy.double()
    return [of_all[index].mean()[None].float() for index in rows]


def rows_and_positions(
    batch: Mapping[str, Any], examples: Sequence[Example]
) -> Iterator[tuple[int, Tensor]]:
    """Row and positions, ``(L,)``, of each example in a collated batch."""
    lengths = [len(example["input_ids"]) for example in examples]
    if batch["input_ids"].shape[0] == 1 and len(examples) > 1:  # padding-free
        start = 0
        for length in lengths:
            yield 0, torch.arange(start, start + length)
            start += length
        return
    mask = batch.get("attention_mask")
    for row, length in enumerate(lengths):
        if mask is None or mask.ndim != 2:
            yield row, torch.arange(length)
        else:
            yield row, mask[row].nonzero().squeeze(1)
