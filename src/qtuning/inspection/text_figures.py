"""Figures of each row, read off its text."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from .conversations import is_unanswered, lacks_system
from .duplicates import Hashes
from .overlap import Known, hash_of_text
from .plain_text import is_joined
from .prepare import Prepared
from .scripts import letters_of
from .special_tokens import pattern_of
from .texts import Said, has_text, is_talk, texts_of
from .tokens import Bools, Ints

_ROWS = 1000


@dataclass(frozen=True)
class TextFigures:
    """Figures of each of ``R`` rows, by its text.

    Attributes:
        prompts: Hash of the prompt, ``(R,)``.
        answers: Hash of the answer, ``(R,)``.
        has_prompt: Whether there is a prompt, ``(R,)``.
        letters: Letters by script, ``(R, S)``.
        has_special: Whether the text has a special token, ``(R,)``; False for rows of tokens.
        special: The special tokens that are found.
        known: Whether the evaluation data have the row exactly, nearly, and its prompt, ``(R, 3)``.
        unanswered: Whether a conversation ends without an answer, ``(R,)``.
        no_system: Whether a conversation begins without a turn of the system, ``(R,)``.
        joined: Whether an answer is glued to its prompt, ``(R,)``.
        no_talk: Whether a row is text rather than a conversation or tokens, ``(R,)``.
        no_prompt: Whether no row has a prompt.
    """

    prompts: Hashes
    answers: Hashes
    has_prompt: Bools
    letters: Ints
    has_special: Bools
    special: frozenset[str]
    known: NDArray[np.bool_]
    unanswered: Bools
    no_system: Bools
    joined: Bools
    no_talk: Bools
    no_prompt: bool


def text_figures(ready: Prepared, known: Known | None) -> TextFigures:
    """The figures of all rows.

    Args:
        ready: The rows.
        known: The evaluation data; None if there are none.
    """
    pattern = pattern_of(ready.tokenizer) if has_text(ready.texts) else None
    said = (one for _, one in texts_of(ready.texts, ready.text_field, ready.tokenizer))
    parts: list[tuple[NDArray[np.generic], ...]] = []
    special: set[str] = set()
    no_prompt = True
    talk = is_talk(ready.texts)
    no_talk = has_text(ready.texts) and not talk
    while rows := list(islice(said, _ROWS)):
        no_prompt = no_prompt and all(one.n_prompt == 0 for one in rows)
        tokens = [set() if pattern is None else set(pattern.findall(one.text)) for one in rows]
        special = special.union(*tokens)
        parts.append(
            (
                _hashes(_prompt_of(one) for one in rows),
                _hashes(one.answer for one in rows),
                np.array([one.n_prompt > 0 for one in rows]),
                letters_of([one.text for one in rows]),
                np.array([bool(found) for found in tokens]),
                np.array([is_unanswered(one) for one in rows]),
                np.array([talk and lacks_system(one) for one in rows]),
                np.array([is_joined(one) for one in rows]),
                np.array([(False,) * 3 if known is None else known.has(one) for one in rows]),
            )
        )
    prompts, answers, has_prompt, letters, has_special, unanswered, no_system, joined, overlap = (
        np.concatenate(column) for column in zip(*parts, strict=True)
    )
    return TextFigures(
        prompts=prompts,
        answers=answers,
        has_prompt=has_prompt,
        letters=letters,
        has_special=has_special,
        special=frozenset(special),
        known=overlap,
        unanswered=unanswered,
        no_system=no_system,
        joined=joined,
        no_talk=np.full(len(joined), no_talk),
        no_prompt=no_prompt,
    )


def _prompt_of(said: Said) -> str:
    """The prompt with its speakers."""
    return "\0".join(part for turn in said.turns[: said.n_prompt] for part in turn)


def _hashes(texts: Iterable[str]) -> Hashes:
    return np.array([hash_of_text(text) for text in texts], dtype=np.uint64)
