"""The users' weights of tokens: the column ``loss_weight`` of tokenised rows."""

import math
from typing import Any

import torch
from torch import Tensor

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from .example import LOSS_WEIGHT, Example, answer_positions


def take_weights(example: Example, name: str) -> tuple[Example, Tensor | None]:
    """The example without its ``loss_weight``, and the factor on the NLL of each answer token.

    A token of weight 0 is no answer token: its label becomes -100.

    Args:
        example: A sample from ``Labels.of``; its weights are a list as long as its ``input_ids``,
            one number for all tokens, or None.
        name: Id of the sample, for messages.

    Returns:
        The example, and the factors, ``(T,)`` float64; None if it has no weights.

    Raises:
        UsageError: A weight is no finite number from 0 on, or there is not one for each token.
    """
    if LOSS_WEIGHT not in example:
        return example, None
    values: Any = example[LOSS_WEIGHT]
    rest = {key: value for key, value in example.items() if key != LOSS_WEIGHT}
    if values is None:
        return rest, None
    n_tokens = len(rest["input_ids"])
    weights = values if isinstance(values, list) else [values] * n_tokens
    if len(weights) != n_tokens:
        raise UsageError(
            f"sample {name} has {len(weights):,} values of {LOSS_WEIGHT} for {n_tokens:,} tokens: "
            "give one for each of input_ids, or one number for all"
        )
    for weight in weights:
        is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
        if not is_number or not math.isfinite(weight) or weight < 0:
            raise UsageError(
                f"sample {name} has a {LOSS_WEIGHT} of {weight!r}: give finite numbers, 0 or above"
            )
    if 0 in weights:
        pairs = zip(rest["labels"], weights, strict=True)
        rest["labels"] = [label if weight else IGNORE_INDEX for label, weight in pairs]
    answers = answer_positions(rest["labels"])
    return rest, torch.tensor(weights, dtype=torch.float64)[answers]
