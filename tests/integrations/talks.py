"""Conversations of several turns for the programs."""

from collections.abc import Collection
from typing import Any


def talk(i: int, dropped: Collection[int] = (), **flags: Any) -> list[dict[str, Any]]:
    """A conversation of one to three answers; those that are dropped have flags."""
    messages: list[dict[str, Any]] = []
    for n in range(i % 3 + 1):
        said = {"role": "assistant", "content": f"so {n} " + "la" * ((i + n) % 4 + 1)}
        marked = flags if n + 1 in dropped else {}
        messages += [{"role": "user", "content": f"q{n} {i}?"}, {**said, **marked}]
    return messages
