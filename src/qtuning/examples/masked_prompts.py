"""Tokens of conversational prompts and completions, for versions of TRL that mask other tokens.

TRL before 0.27 takes the two entries of what transformers 5 returns for a prompt for its two
tokens, and trains on all the others: the prompt, but for these, as well as the answer.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from packaging.version import Version
from transformers import PreTrainedTokenizerBase

from ..core.stats import IGNORE_INDEX
from ..io.formats import Rows
from ..io.turns import without_nulls
from .token_weights import TokenWeights

TRL_MASKS_OTHERS = Version(version("trl")) < Version("0.27")
"""Whether the version of TRL that is installed does so."""


def is_prompt_of_turns(rows: Rows) -> bool:
    """Whether rows have messages as ``prompt`` and ``completion``."""
    first: Mapping[str, Any] = next(iter(rows), {})
    return isinstance(first.get("prompt"), list)


def with_masked_prompts(
    rows: Rows,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    *,
    completion_only: bool,
    where: str = "the rows",
    **in_processes: int,
) -> Rows:
    """The rows as tokens and labels, as newer versions of TRL make them.

    Args:
        rows: Rows with messages as ``prompt`` and ``completion``.
        tokenizer: The tokenizer.
        template: The chat template in force.
        completion_only: Whether only the completion is the answer.
        where: The name of the data in messages.
        **in_processes: ``num_proc``, the number of processes, for rows that are no stream.

    Raises:
        UsageError: The tokens of messages whose weights differ cannot be told apart.
    """
    first: Mapping[str, Any] = next(iter(rows))
    taken = [name for name in ("prompt", "completion", "tools") if name in first]
    arguments = {
        "weigh": TokenWeights(where, tokenizer, template),
        "tokenizer": tokenizer,
        "template": template,
        "completion_only": completion_only,
    }
    return rows.map(
        _tokens, with_indices=True, fn_kwargs=arguments, remove_columns=taken, **in_processes
    )


def _tokens(
    row: Mapping[str, Any],
    index: int,
    *,
    weigh: TokenWeights,
    tokenizer: PreTrainedTokenizerBase,
    template: str,
    completion_only: bool,
) -> dict[str, Any]:
    """The tokens of a row; the completion begins where those of the prompt alone differ."""
    options = {
        "tools": without_nulls(row.get("tools")),
        "chat_template": template,
        "return_dict": False,
        **(row.get("chat_template_kwargs") or {}),
    }
    prompt, completion = without_nulls(row["prompt"]), without_nulls(row["completion"])
    ids = tokenizer.apply_chat_template(prompt + completion, **options)
    start = 0
    if completion_only:
        alone = tokenizer.apply_chat_template(prompt, add_generation_prompt=True, **options)
        same = [one == other for one, other in zip(alone, ids, strict=False)]
        start = same.index(False) if False in same else len(same)
    weights = weigh({**row, "input_ids": ids}, index)
    return {"input_ids": ids, "labels": [IGNORE_INDEX] * start + ids[start:], **weights}
