"""Users' weights of rows and messages: factors on the loss of their tokens.

A row has its weight in the column ``loss_weight``. A message has its own in the keys of other
trainers: ``weight`` (OpenAI, 0 or 1; here any number), ``train``, ``training`` and ``trainable``
(Axolotl, true or false), ``loss`` (ms-swift, true or false or a number) and ``loss_weight``
(LLaMA-Factory, a number). What is asked for by other keys is not done, and refused.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

LOSS_WEIGHT = "loss_weight"
"""Column with the weight of a row; of rows that are tokens, a number or a list of one a token."""
MESSAGE_WEIGHTS = "message_loss_weights"
"""Column that readers make of the weights: a list with one for each message, the row's weight
times the message's. Rows that are no conversations have one. Null for 1."""
WEIGHT_KEYS = ("weight", "loss_weight", "loss", "train", "training", "trainable")
"""Keys of messages that say what their loss is worth."""
OTHER_KEYS = ("loss_mask", "loss_scale", "train_detail")
"""Keys of messages that other trainers read, and that are refused unless they say nothing."""
OF_MESSAGES = ("weight", "train")
"""Columns that are refused, since they would be taken for weights of rows."""


def read_weight(value: object) -> float:
    """A weight as a number; 1 for nothing.

    Args:
        value: A number, a truth value, or the text of a number, as cells of CSV are.

    Raises:
        ValueError: It is no finite number of at least 0; the message says which, without the row.
    """
    if value is None or value == "":
        return 1.0
    try:
        weight = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        weight = math.nan
    if not (math.isfinite(weight) and weight >= 0):
        raise ValueError(f"{value!r}, and a weight is a finite number of at least 0")
    return weight


def message_weight(message: Mapping[str, Any]) -> float:
    """The weight of a message: the product of what its keys say; 1 if they say nothing.

    Raises:
        ValueError: A weight is no finite number of at least 0, or a key is not understood.
    """
    weight = 1.0
    for key in WEIGHT_KEYS:
        try:
            weight *= read_weight(message.get(key))
        except ValueError as error:
            raise ValueError(f"has {key} {error}") from error
    for key in OTHER_KEYS:
        if message.get(key) not in (None, True, 1, "", []):
            raise ValueError(
                f"has {key} {message[key]!r}, which is not read: give the message a weight "
                "instead, or take the key out"
            )
    return weight


def weights_of_messages(row: Mapping[str, Any], messages: Sequence[Any]) -> list[float] | None:
    """The weights of a conversation's messages, each times the row's; None if all of them are 1.

    Args:
        row: The row.
        messages: Its messages in any spelling.

    Raises:
        ValueError: A weight cannot be read; the message says which, without the row.
    """
    own = row_weight(row)
    weights = [own * message_weight(one) for one in _objects(messages)]
    return weights if any(weight != 1.0 for weight in weights) else None


def row_weight(row: Mapping[str, Any]) -> float:
    """The weight of a row.

    Raises:
        ValueError: It is no finite number of at least 0.
    """
    try:
        return read_weight(row.get(LOSS_WEIGHT))
    except ValueError as error:
        raise ValueError(f"is {error}") from error


def token_weights(value: object, length: int) -> list[float]:
    """The weights of the tokens of a row that is tokens already.

    Args:
        value: A number, or a list of a number for each token.
        length: Number of tokens.

    Raises:
        ValueError: A weight is no finite number of at least 0, or the list has another length.
    """
    if not isinstance(value, list | tuple):
        return [row_weight({LOSS_WEIGHT: value})] * length
    if len(value) != length:
        raise ValueError(f"has {len(value)} weights for {length} tokens")
    try:
        return [read_weight(one) for one in value]
    except ValueError as error:
        raise ValueError(f"has {error}") from error


def _objects(messages: Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """The messages; what is no object, which readers refuse, has no weight."""
    for message in messages:
        yield message if isinstance(message, Mapping) else {}
