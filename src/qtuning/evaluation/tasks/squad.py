"""SQuAD 1.1's scores of one question (arXiv:1606.05250, 6.1)."""

import re
import string
from collections import Counter
from typing import Any

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def scores(doc: dict[str, Any], results: list[str]) -> dict[str, float]:
    """Exact match, F1 and whether an accepted answer is contained; the best over all accepted."""
    said = normalised(results[0])
    accepted = [normalised(answer) for answer in doc["meta"]["answers"]]
    return {
        "exact": float(said in accepted),
        "f1": max(f1(said, answer) for answer in accepted),
        "contains": float(any(f" {answer} " in f" {said} " for answer in accepted)),
    }


def normalised(text: str) -> str:
    """Lower case, without punctuation, articles and extra white space."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_NO_PUNCTUATION)).split())


def f1(said: str, answer: str) -> float:
    """F1 over the words of two normalised texts; 1 if both are empty."""
    ours, theirs = said.split(), answer.split()
    common = sum((Counter(ours) & Counter(theirs)).values())
    if not ours or not theirs:
        return float(ours == theirs)
    return 2 * common / (len(ours) + len(theirs))
