"""The users' weights of tokens: the column ``loss_weight`` of tokenised rows."""

from typing import Any

import torch
from torch import Tensor

from ..core.stats import IGNORE_INDEX
from ..errors import UsageError
from ..io.weights import LOSS_WEIGHT, token_weights
from .example import Example, answer_positions


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
    try:
        weights = token_weights(values, len(rest["input_ids"]))
    except ValueError as error:
        raise UsageError(f"sample {name}: {LOSS_WEIGHT} {error}") from error
    if 0 in weights:
        pairs = zip(rest["labels"], weights, strict=True)
        rest["labels"] = [label if weight else IGNORE_INDEX for label, weight in pairs]
    answers = answer_positions(rest["labels"])
    return rest, torch.tensor(weights, dtype=torch.float64)[answers]
