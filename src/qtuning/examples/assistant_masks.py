"""Whether transformers masks the assistant's tokens where the chat template marks them.

Before 5.24 it looks up the tokens of a mark's first and last character. Where the last one has
none, as a line end that the tokenizer drops, it takes all that follows for the assistant's,
questions included; where the first one has none, it leaves out this answer and all later ones.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from ..errors import UsageError
from ..io.formats import columns_of
from .templates import blocks_of, messages_of
from .token_weights import as_trl_reads

_SPACES = " \n\t\r"


def check_assistant_masks(
    rows: Any, where: str, tokenizer: PreTrainedTokenizerBase, template: str | None
) -> Any:
    """Check rows that are no tokens yet, of which the assistant's turns alone are to be trained.

    Few tokenizers drop white space; with others nothing is looked at.

    Args:
        rows: A ``datasets`` data set, or a stream, whose rows are checked as they come.
        where: The name of the data in messages.
        tokenizer: The tokenizer.
        template: The chat template in force; None if there is none.

    Returns:
        The rows.

    Raises:
        UsageError: In some row the mask is not what the template marks.
    """
    if "input_ids" in columns_of(rows) or not template or not _drops_spaces(tokenizer):
        return rows
    check = _Checked(where, tokenizer, template)
    if not isinstance(rows, Dataset):
        return rows.map(check, with_indices=True)
    for index, row in enumerate(rows.with_format(None)):
        check(row, index)
    return rows


def _drops_spaces(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether white space between words may be in no token; a slow tokenizer makes no masks."""
    if not tokenizer.is_fast:
        return False
    text = "".join(f"a{space}" for space in _SPACES)
    made = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    inside = {place for start, end in made["offset_mapping"] for place in range(start, end)}
    return len(inside) < len(text)


@dataclass(frozen=True)
class _Checked:
    """Checks a row and gives it back as it is.

    Attributes:
        where: The name of the data in messages.
        tokenizer: The tokenizer.
        template: The chat template in force.
    """

    where: str
    tokenizer: PreTrainedTokenizerBase
    template: str

    def __call__(self, row: dict[str, Any], index: int) -> dict[str, Any]:
        """The row.

        Raises:
            UsageError: The mask is not what the template marks.
        """
        if messages_of(row) is not None and not self._is_right(as_trl_reads(row)):
            raise UsageError(
                f"{self.where}, row {index + 1}: a part that the chat template marks as the "
                "assistant's begins or ends in white space that the tokenizer makes no token of, "
                "and transformers then masks other turns than the assistant's: name a template "
                "with chat_template_path whose {% generation %} parts have no such space at "
                "their ends, or mend the row"
            )
        return row

    def _is_right(self, row: Mapping[str, Any]) -> bool:
        """Whether the tokens that transformers masks are those of the marked text."""
        _, blocks = blocks_of(row, self.tokenizer, self.template)
        if not blocks:
            return True
        tools = row.get("tools")
        made = self.tokenizer.apply_chat_template(
            messages_of(row),
            tools=json.loads(tools) if isinstance(tools, str) else tools,
            chat_template=self.template,
            return_dict=True,
            return_assistant_tokens_mask=True,
            tokenizer_kwargs={"return_offsets_mapping": True},
            **(row.get("chat_template_kwargs") or {}),
        )
        own = [
            any(first < end and last > start for start, end in blocks)
            for first, last in made["offset_mapping"]
        ]
        return all(
            bool(masked) == is_own
            for masked, is_own, (first, last) in zip(
                made["assistant_masks"], own, made["offset_mapping"], strict=True
            )
            if last > first
        )
