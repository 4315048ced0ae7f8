"""What a chat template makes of rows: where it fails, and whether it prints calls of tools."""

import json
from collections.abc import Mapping
from typing import Any

from datasets import Dataset
from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from ..errors import UsageError
from ..io.formats import Rows
from ..io.turns import THOUGHTS

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


def blocks_of(
    row: Mapping[str, Any], tokenizer: PreTrainedTokenizerBase, template: str
) -> tuple[str, list[tuple[int, int]]]:
    """The text of a row's conversation, and where in it the template marks the assistant's parts.

    There are none without such marks, for a row that is no conversation, or one that the template
    is not made for.
    """
    messages = messages_of(row)
    if messages is None or "generation" not in template:
        return "", []
    tools = row.get("tools")
    try:
        texts, blocks = render_jinja_template(
            conversations=[messages],
            tools=json.loads(tools) if isinstance(tools, str) else tools,
            chat_template=template,
            return_assistant_tokens_mask=True,
            **{**tokenizer.special_tokens_map, **(row.get("chat_template_kwargs") or {})},
        )
    except RENDERING:
        return "", []
    return str(texts[0]), list(blocks[0])


def unfit(place: str, error: Exception) -> UsageError:
    """The error for rows that a chat template cannot be applied to.

    Args:
        place: The name of the data, and of the row if it is known.
        error: What the template raised.
    """
    return UsageError(
        f"{place}: cannot be made ready: chat template, tokenizer and data do not fit together "
        f"({one_line(error)}); mend the row, or name another template with chat_template_path"
    )


def one_line(error: Exception) -> str:
    """What an error says, as one line."""
    return " ".join(str(error).split()) or type(error).__name__


class Rendered:
    """Sees that a chat template can be applied to the rows of a stream, as they come."""

    def __init__(self, where: str, tokenizer: PreTrainedTokenizerBase, template: str) -> None:
        """Check rows of data of a name by a template."""
        self._where, self._tokenizer, self._template = where, tokenizer, template

    def __call__(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        """The row as it is.

        Raises:
            UsageError: The template cannot be applied to it.
        """
        try:
            rendered(row, self._tokenizer, self._template)
        except RENDERING as error:
            raise unfit(f"{self._where}, row {index + 1}", error) from error
        return row


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


def prints_tools(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Whether a chat template prints the tools of a row; arguments as in ``prints_calls``."""
    tool = {"type": "function", "function": {"name": "f", "description": "d", "parameters": {}}}
    row = {"messages": [{"role": "user", "content": "q"}]}
    try:
        return rendered(row, tokenizer, template) != rendered(
            {**row, "tools": [tool]}, tokenizer, template
        )
    except RENDERING:
        return True


def prints_calls(tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    """Whether a chat template prints calls of tools, which would vanish from training otherwise.

    A template that raises for them says so when rows are made ready.

    Args:
        tokenizer: The tokenizer.
        template: The chat template in force.
    """
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    question, answer = {"role": "user", "content": "q"}, {"role": "assistant", "content": ""}
    try:
        without = rendered({"messages": [question, answer]}, tokenizer, template)
        text = rendered(
            {"messages": [question, {**answer, "tool_calls": [call]}]}, tokenizer, template
        )
    except RENDERING:
        return True
    return text != without


def lost_thoughts(tokenizer: PreTrainedTokenizerBase, template: str) -> frozenset[str]:
    """The keys of an assistant's thoughts that a chat template does not print.

    A template that raises for one says so when rows are made ready. Many print the thoughts of the
    last answer only, and that on purpose.

    Args:
        tokenizer: The tokenizer.
        template: The chat template in force.
    """
    return frozenset(key for key in THOUGHTS if not _prints(key, tokenizer, template))


def _prints(key: str, tokenizer: PreTrainedTokenizerBase, template: str) -> bool:
    thought = "0thought0"
    answer = {"role": "assistant", "content": "a", key: thought}
    row = {"messages": [{"role": "user", "content": "q"}, answer]}
    try:
        return thought in (rendered(row, tokenizer, template) or "")
    except RENDERING:
        return True
