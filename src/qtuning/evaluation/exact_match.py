"""Exact match of generated answers to word problems, without lm-evaluation-harness."""

from collections.abc import Mapping, Sequence
from statistics import fmean, stdev
from typing import Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from ..errors import UsageError
from .answers import answer_in, answer_rules, expected_answer, same_answer
from .generation import generate
from .harness import Score

TASK, METRIC = "held_out", "exact_match"
_VERSION = "1.0"  # that of the task whose definition of an answer this is
OPTIONS = ("questions", "max_new_tokens", "batch_size")
"""The options of ``exact_match``, each a number."""


def exact_match(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    rows: Sequence[Mapping[str, Any]],
    *,
    questions: int | None = None,
    max_new_tokens: int | None = None,
    batch_size: int = 32,
) -> list[Score]:
    """Let a model answer questions, and compare the final number with the right one.

    Args:
        model: The model, on its device.
        tokenizer: The model's tokenizer.
        rows: Rows with ``id``, ``prompt``, ``completion`` and ``meta``; the prompt as trained on.
        questions: Number of questions, from the first row on; None for all.
        max_new_tokens: Tokens after which an answer ends; None for as many as the local tasks
            allow, 48.
        batch_size: Questions in a batch.

    Returns:
        A score for each way to find the answer in the text: "strict-match" (the number after
        ``####``) and "flexible-extract" (the last number), with a hit or miss for each question.

    Raises:
        UsageError: There is no row, or a row's answer is no number.
    """
    rules = answer_rules()
    asked = check_questions(rows, questions)
    right = [expected_answer(row) for row in asked]
    texts = generate(
        model,
        tokenizer,
        [row["prompt"] for row in asked],
        max_new_tokens=max_new_tokens or rules.max_new_tokens,
        stops=rules.stops,
        batch_size=batch_size,
    )
    return [_score(how, texts, right) for how in rules.filters]


def check_questions(
    rows: Sequence[Mapping[str, Any]], questions: int | None
) -> Sequence[Mapping[str, Any]]:
    """The rows that are asked, each of which has an answer.

    Raises:
        UsageError: There is no row, or a row's answer is no number.
    """
    asked = rows[:questions]
    if not asked:
        raise UsageError("exact_match: no held-out row to ask; name held_out files")
    for row in asked:
        expected_answer(row)
    return asked


def _score(how: str, texts: Sequence[str], right: Sequence[str]) -> Score:
    hits = [
        float(same_answer(answer_in(text, how), answer))
        for text, answer in zip(texts, right, strict=True)
    ]
    n = len(hits)
    return Score(
        task=TASK,
        version=_VERSION,
        metric=METRIC,
        filter=how,
        value=fmean(hits),
        stderr=stdev(hits) / n**0.5 if n > 1 else None,
        n=n,
        hits=tuple(hits),
    )
