"""The final answer of a word problem: how it is taken from a text, and when two are the same.

The one definition is the lm-evaluation-harness task ``tasks/shared/word_problem.yaml``; this module
applies it without the harness.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import yaml

from ..errors import UsageError
from .local_tasks import FOLDER

_TASK = FOLDER / "shared" / "word_problem.yaml"
_NONE = "[invalid]"
"""What the harness takes for the answer of a text without one."""


class AnswerRules(NamedTuple):
    """What the task says about texts and answers.

    Attributes:
        filters: Pattern of each way to find the answer, by the way's name, and which of the
            matches is the answer: 0 is the first, -1 the last.
        ignored: Patterns whose matches do not count in a comparison.
        stops: Texts at which generating ends; they are not part of what is generated.
        max_new_tokens: Tokens after which generating ends.
    """

    filters: Mapping[str, tuple[re.Pattern[str], int]]
    ignored: tuple[str, ...]
    stops: tuple[str, ...]
    max_new_tokens: int


@functools.cache
def answer_rules() -> AnswerRules:
    """Read the rules from the task's file."""
    task = yaml.safe_load(_TASK.read_text(encoding="utf-8"))
    filters = {}
    for one in task["filter_list"]:
        regex = one["filter"][0]
        pattern = re.compile(regex["regex_pattern"])
        filters[one["name"]] = (pattern, regex.get("group_select", 0))
    (metric,) = task["metric_list"]
    generation = task["generation_kwargs"]
    return AnswerRules(
        filters,
        tuple(metric["regexes_to_ignore"]),
        tuple(generation["until"]),
        generation["max_gen_toks"],
    )


def answer_in(text: str, how: str) -> str:
    """Find the answer in a text; "[invalid]" if it has none.

    Args:
        text: A solution, for example a generated one.
        how: Name of the way: "strict-match" is the number after ``####``, "flexible-extract" the
            last number.
    """
    pattern, which = answer_rules().filters[how]
    matches = pattern.findall(text)
    if not matches:
        return _NONE
    match = matches[which]
    if isinstance(match, tuple):  # a pattern of several groups, of which one has matched
        match = next(filter(None, match), _NONE)
    return str(match).strip()


def same_answer(one: str, other: str) -> bool:
    """Whether two answers are the same but for commas, dollar signs and a full stop."""
    return _plain(one) == _plain(other)


def expected_answer(row: Mapping[str, Any]) -> str:
    """The right answer of a row: its ``meta.answer``, else what its completion ends with.

    Args:
        row: A row with ``id``, ``completion`` and ``meta``.

    Raises:
        UsageError: The row has no number as its answer.
    """
    known = row["meta"].get("answer")
    answers = [answer_in(row["completion"], how) for how in answer_rules().filters]
    answer = next((one for one in answers if one != _NONE), _NONE) if known is None else str(known)
    if not any(character.isdigit() for character in answer):
        raise UsageError(
            f"exact_match: row {row['id']} has no number as its answer: give it meta.answer, or "
            "leave exact_match out"
        )
    return answer


def _plain(answer: str) -> str:
    for pattern in answer_rules().ignored:
        answer = re.sub(pattern, "", answer)
    return answer
