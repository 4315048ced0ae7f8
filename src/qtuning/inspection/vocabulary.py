"""Whether tokenizer, template and model fit together."""

import re
from collections.abc import Iterable
from typing import Any

from transformers import PreTrainedTokenizerBase

from .figures import Figures
from .findings import in_rows
from .result import Finding

_MARKERS = re.compile(
    r"<[|｜][^|｜<>\s{}]{1,40}[|｜]>|<(?:start|end)_of_turn>|\[/?[A-Z]+(?:_[A-Z]+)*\]"
)
_PLAIN = re.compile(r"\[/?INST\]")
"""Markers that are words to some models."""


def vocabulary_findings(
    rows: Figures,
    tokenizer: PreTrainedTokenizerBase,
    template: str | None,
    texts: Iterable[str],
    embeddings: int,
) -> list[Finding]:
    """Tokens without an embedding, markers that are split, and padding that is the end.

    Args:
        rows: Figures of the rows.
        tokenizer: The tokenizer, with the tokens that the options name.
        template: The chat template in force; None if there is none.
        texts: Some rows as the model reads them: only markers that occur in them are looked at.
        embeddings: Number of the model's embeddings.
    """
    found = in_rows(
        "error",
        "ids-beyond-embeddings",
        rows.beyond > 0,
        f"tokens that the model has no embedding for: it has {embeddings:,}",
        "use the tokenizer of the model, or one whose added tokens the model has",
    )
    if tokenizer.pad_token_id is not None and tokenizer.pad_token_id == tokenizer.eos_token_id:
        found.append(
            Finding(
                "note",
                "padding-is-end",
                1,
                (),
                f"padding and end are the same token, {tokenizer.pad_token}",
                "harmless here, where padding has no labels; elsewhere the end may be masked with "
                "it: set pad_token to another token",
            )
        )
    return [*found, *_split_markers(tokenizer, template, texts)]


def _split_markers(
    tokenizer: PreTrainedTokenizerBase, template: str | None, texts: Iterable[str]
) -> list[Finding]:
    markers = sorted(set(_MARKERS.findall(template or "")))
    shown = "\0".join(texts) if markers else ""
    split = {marker: _pieces(tokenizer, marker) for marker in markers if marker in shown}
    split = {marker: n for marker, n in split.items() if n > 1}
    return [
        Finding(
            "note" if plain else "warning",
            "markers-split",
            len(some),
            (),
            "the tokenizer splits markers of the chat template: "
            + ", ".join(f"{marker} into {n}" for marker, n in some.items()),
            "right for models that were trained so; else use the model's own template or add the "
            "tokens",
        )
        for plain in (False, True)
        if (some := {k: n for k, n in split.items() if bool(_PLAIN.fullmatch(k)) == plain})
    ]


def _pieces(tokenizer: PreTrainedTokenizerBase, marker: str) -> int:
    ids: Any = tokenizer(marker, add_special_tokens=False)["input_ids"]
    return len(ids)
