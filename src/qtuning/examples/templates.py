"""What a chat template makes of rows: which row it fails at, and whether it prints tool calls."""

import json
from collections.abc import Mapping
from typing import Any

from datasets import Dataset
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from ..errors import UsageError
from ..io.formats import Rows

RENDERING = (TemplateError, ArithmeticError, TypeError, LookupError)
"""What templates raise for conversations that they are not made for."""


def messages_of(row: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The conversation of a row that TRL reads; None if it is none."""
    if isinstance(row.get("messages"), list):
        return list(row["messages"])
    if isinstance(row.get("prompt"), list):
        return [*row["prompt"], *row["completion"]]
    return None


def rendered(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, template: str
) -> str | None:
    """The text of a row's conversation; None if it has none."""
    messages = messages_of(row)
    if messages is None:
        return None
    tools = row.get("tools")
    text: str = tokenizer.apply_chat_template(
        messages,
        tools=json.loads(tools) if isinstance(tools, str) else tools,
        chat_template=template,
        tokenize=False,
        **(row.get("chat_template_kwargs") or {}),
    )
    return text


def failing_row(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, template: str
) -> tuple[int, Exception] | None:
    """The first row that a chat template cannot be applied to, from 0, and why.

    Args:
        rows: The rows as TRL reads them; a stream is not looked at.
        tokenizer: The tokenizer.
        template: The chat template in force.
    """
    if not isinstance(rows, Dataset):
        return None
    for index, row in enumerate(rows):
        try:
            rendered(row, tokenizer, template)
        except RENDERING as error:
            return index, error
    return None


def check_calls(
    rows: Rows, tokenizer: PreTrainedTokenizerBase, template: str | None, where: str
) -> None:
    """Check that the chat template prints calls of tools, which would vanish from training.

    Args:
        rows: The rows as TRL reads them; a stream is not looked at.
        tokenizer: The tokenizer.
        template: The chat template in force; None if there is none.
        where: The name of the data in messages.

    Raises:
        UsageError: The first call of the data is not in the text of its row.
    """
    if template is None or not isinstance(rows, Dataset):
        return
    for index, row in enumerate(rows):
        calls = [c for turn in messages_of(row) or () for c in turn.get("tool_calls") or ()]
        if not calls:
            if "tool_calls" not in repr(rows.features) and "Json" not in repr(rows.features):
                return  # messages of role and content alone
            continue
        try:
            text = rendered(row, tokenizer, template)
        except RENDERING:
            return  # the row is named when rows are made ready
        name = calls[0]["function"]["name"]
        if text is not None and name not in text:
            raise UsageError(
                f"{where}, row {index + 1}: the chat template does not print the call of {name}, "
                "which would be lost: name another template with chat_template_path"
            )
        return
