"""Rows that are in the evaluation data as well."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .figures import hash_of
from .findings import in_rows
from .result import Finding
from .texts import Said
from .tokens import Bools

_NO_LETTERS = re.compile(r"[\W_]+")


def plain(text: str) -> str:
    """A text without case, white space and punctuation, by which near copies are found."""
    return _NO_LETTERS.sub("", text.casefold())


def hash_of_text(text: str) -> int:
    """A hash of 64 bits of a text."""
    return hash_of(text.encode("utf-8", "surrogatepass"))


@dataclass(frozen=True)
class Known:
    """The rows of the evaluation data, as hashes of their texts.

    Attributes:
        exact: Of prompt and answer.
        plain: Of both without case, white space and punctuation; without empty ones.
        prompts: Of such prompts; without empty ones.
        read: Number of rows.
    """

    exact: set[int] = field(default_factory=set)
    plain: set[int] = field(default_factory=set)
    prompts: set[int] = field(default_factory=set)
    read: int = 0

    @classmethod
    def of(cls, rows: Iterable[Said]) -> "Known":
        """The hashes of some rows."""
        hashes = [_hashes(said) for said in rows]
        exact, near, prompts = (set(column) - {None} for column in zip(*hashes, strict=True))
        return cls(exact, near, prompts, len(hashes))

    def has(self, said: Said) -> tuple[bool, bool, bool]:
        """Whether a row is among them exactly, nearly, and by its prompt alone."""
        exact, near, prompt = _hashes(said)
        return exact in self.exact, near in self.plain, prompt in self.prompts


def _hashes(said: Said) -> tuple[int, int | None, int | None]:
    prompt, answer = said.prompt, said.answer
    near_prompt, near_answer = plain(prompt), plain(answer)
    return (
        hash_of_text(f"{prompt}\0{answer}"),
        hash_of_text(f"{near_prompt}\0{near_answer}") if near_prompt or near_answer else None,
        hash_of_text(near_prompt) if near_prompt else None,
    )


def overlap_findings(
    found: Bools, known: Known, where: str
) -> tuple[dict[str, Any], list[Finding]]:
    """Figures and findings of the overlap; "nearly" is but for case, space and punctuation.

    Args:
        found: What ``Known.has`` says of each row, ``(R, 3)``.
        known: The rows of the evaluation data.
        where: The name of the evaluation data.
    """
    exact, near, prompt = found.T
    facts = {
        "data": where,
        "rows": known.read,
        "rows in both, exactly": int(exact.sum()),
        "rows in both, nearly": int((near | exact).sum()),
        "prompts in both, nearly": int(prompt.sum()),
    }
    both = near | exact
    do = "take them out of one of the two: what is trained on cannot be held out"
    return facts, [
        *in_rows("warning", "rows-in-evaluation", both, "in the evaluation data too", do),
        *in_rows(
            "warning",
            "prompts-in-evaluation",
            np.asarray(prompt & ~both),
            "a prompt of the evaluation data, with another answer",
            do,
        ),
    ]
