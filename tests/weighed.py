"""Rows with users' weights, and what their tokens weigh by the plainest of templates."""

from typing import Any

from . import talks
from .talks import answer, user

TURNS: list[dict[str, Any]] = [
    user("Hi"),
    {**answer("wrong"), "weight": 0},
    user("Bye"),
    {**answer("Ciao"), "weight": 0.5},
]
"""The first answer is out of the loss, the second weighs half."""
WEIGHTS = [1.0, 0.0, 1.0, 0.5]


def rows(n: int = 4) -> list[dict[str, Any]]:
    """Rows of which every second says weights."""
    plain = [user("Hi"), answer("right"), user("And?"), answer("so on")]
    return [{"messages": plain if i % 2 else TURNS, "id": f"r{i}"} for i in range(n)]


def naive(tokenizer: Any, messages: Any, weights: list[float]) -> list[float]:
    """A weight a token under ``talks.TEMPLATE``, which writes each message by itself."""
    made = []
    for message, weight in zip(messages, weights, strict=True):
        text = tokenizer.apply_chat_template(
            [message], tokenize=False, chat_template=talks.TEMPLATE
        )
        made += [weight] * len(tokenizer(text)["input_ids"])
    return made
