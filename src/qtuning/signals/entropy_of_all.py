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
from ..examples.example import Example, n_input_of
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
        batch: The collated batch, padded or padding-free, on the host or on the device.
        examples: The examples of the batch, in order.
    """
    if not examples:
        return []
    # All places are worked out on the host, which would wait for a GPU to tell where a mask is set.
    tensors = {name: batch.get(name) for name in ("labels", "attention_mask")}
    host = {name: one.cpu() for name, one in tensors.items() if isinstance(one, Tensor)}
    length, device = host["labels"].shape[1], projection.hidden.device
    rows = [
        row * length + positions
        for row, positions in rows_and_positions({**batch, **host}, examples)
    ]
    is_rest = torch.zeros(host["labels"].numel(), dtype=torch.bool)
    is_rest[torch.cat(rows)] = True
    is_rest[AnswerPlaces.of(host["labels"]).at] = False
    rest = is_rest.nonzero().squeeze(1).to(device, non_blocking=True)
    gold = torch.zeros_like(rest)  # of no consequence: the NLL is not read
    with torch.no_grad():
        stats = answer_stats(projection.at(rest), projection.weight, gold, **projection.head)
    of_all = torch.zeros(len(is_rest), dtype=torch.float64, device=device)
    of_all[rest] = stats[1].double()
    of_all[places.at] = entropy.double()
    return [of_all[row.to(device, non_blocking=True)].mean()[None].float() for row in rows]


def rows_and_positions(
    batch: Mapping[str, Any], examples: Sequence[Example]
) -> Iterator[tuple[int, Tensor]]:
    """Row and positions, ``(L,)``, of each example in a collated batch."""
    lengths = [n_input_of(example) for example in examples]
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
