"""Kinds of tokens, by rules instead of a language model as judge (arXiv:2509.23873, figure 7)."""

import re
from collections.abc import Sequence

NUMBER, FUNCTION, CONTENT, FORMATTING, FINAL = (
    "numbers and symbols",
    "function words",
    "content words",
    "formatting",
    "tokens of the final answer",
)
KINDS = (NUMBER, FUNCTION, CONTENT, FORMATTING, FINAL)

# Articles, pronouns, prepositions, conjunctions, auxiliaries and the like.
_WORDS = """
a about above across after against all along also although am among an and any anyone anything are
around as at be because been before being below between both but by can cannot could did do does
doing down during each either every everyone everything few for from had has have having he her
here hers herself him himself his how however i if in into is it its itself just least less like
many may me might mine more most much must my myself near neither no nor not nothing of off on
once one only onto or other others our ours ourselves out over own per quite rather same several
shall she should since so some someone something such than that the their theirs them themselves
then there therefore these they this those though through throughout thus till to too toward
towards under unless until up upon us very was we were what whatever when where whether which
while who whom whose why will with within without would yet you your yours yourself s t d ll re ve
m
"""
_FUNCTION_WORDS = frozenset(_WORDS.split())
# Beginning of the final answer: the last match in the text counts.
_FINAL = re.compile(
    r"####\s*|\\boxed\{|(?:the\s+)?(?:final\s+)?answer\s*(?:is|:)\s*", flags=re.IGNORECASE
)
_WORD = re.compile(r"\w+(?:['’]\w+)*")
_END_OF_TURN = re.compile(r"<\|?[\w/]+\|?>|</s>")


def kinds_of(pieces: Sequence[str]) -> list[str]:
    """Determine the kind of each token of an answer.

    A token gets the kind of the word in which it lies, so that the parts of a word agree.

    Args:
        pieces: Text of each token, ``(T,)``; joined, they are the answer's text.

    Returns:
        One of ``KINDS`` for each token, ``(T,)``.
    """
    text = "".join(pieces)
    final = _final_part(text)
    words = [(m.start(), m.end(), m.group()) for m in _WORD.finditer(text)]
    kinds, start, at = [], 0, 0
    for piece in pieces:
        end = start + len(piece)
        inner = start + len(piece) - len(piece.lstrip())
        while at < len(words) and words[at][1] <= inner:
            at += 1
        word = words[at][2] if at < len(words) and words[at][0] < end else ""
        if _END_OF_TURN.fullmatch(piece.strip()):
            kinds.append(FORMATTING)
        else:
            kind = _kind(piece, word)
            in_final = final is not None and start < final[1] and end > final[0]
            kinds.append(FINAL if in_final and kind != FORMATTING else kind)
        start = end
    return kinds


def _final_part(text: str) -> tuple[int, int] | None:
    """Return start and end of the final answer, which ends with its line; None without one."""
    matches = list(_FINAL.finditer(text))
    if not matches:
        return None
    match = matches[-1]
    end = text.find("\n", match.end())
    return match.end(), len(text) if end < 0 else end


def _kind(piece: str, word: str) -> str:
    core = piece.strip()
    if not core:
        return FORMATTING
    if not any(c.isalnum() for c in core):
        return FORMATTING if all(c in "*_#`|~->•\"'.,:;!?()[]{}" for c in core) else NUMBER
    if any(c.isdigit() for c in word or core):
        return NUMBER
    return FUNCTION if (word or core).lower() in _FUNCTION_WORDS else CONTENT
