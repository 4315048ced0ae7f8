"""Whether a data set has prompts, which some pruners compare answers with."""

from typing import Any

import torch

from ..core.stats import IGNORE_INDEX
from .example import without_prompt


def has_prompts(rows: Any, completion_only: bool) -> bool:
    """Whether any row has a prompt, so that ``without_prompt`` leaves something of it out.

    Args:
        rows: A ``datasets.Dataset`` of tokenised rows, whose labels no collator makes other than by
            its masks.
        completion_only: Whether to read ``completion_mask``.
    """
    masks = ("completion_mask",) if completion_only else ()
    names = [n for n in ("labels", "assistant_masks", *masks) if n in rows.column_names]
    if not names:
        return False
    for row in rows.with_format(None).select_columns(["input_ids", *names]):
        is_answer = torch.ones(len(row["input_ids"]), dtype=torch.bool)
        for name in names:
            is_answer &= torch.tensor(row[name]) != (IGNORE_INDEX if name == "labels" else 0)
        answers = is_answer[1:].nonzero().squeeze(1) + 1
        if len(answers) and without_prompt({"input_ids": row["input_ids"]}, answers) is not None:
            return True
    return False
