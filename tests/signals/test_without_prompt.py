"""Answers without their prompts, against the model's own logits, answer by answer."""

import math

import pytest
import torch

from qtuning.core.selective_ifd import selective_ifd
from qtuning.examples.candidate import Candidate, row_of
from qtuning.examples.example import answer_positions
from qtuning.pruners.protocols import EL2N, S_IFD, SCORES, WITHOUT_PROMPT
from qtuning.signals.without_prompt import score_alone, score_without_prompt

from .. import tiny
from ..architectures import padded
from .test_scorer import count_forwards, scorer

pytestmark = pytest.mark.usefixtures("one_thread")

# Of one answer, of two turns, of one token, and of no prompt.
EXAMPLES = [
    {"input_ids": [7, 8, 9, 20, 21], "labels": [-100, -100, -100, 20, 21]},
    {
        "input_ids": [5, 6, 30, 31, 3, 4, 40, 41, 42],
        "labels": [-100, -100, 30, 31, -100, -100, 40, 41, 42],
    },
    {"input_ids": [7, 8, 9], "labels": [-100, -100, 9]},
    {"input_ids": [7, 8, 9, 10], "labels": [7, 8, 9, 10]},
]
# Input ids of each alone, and which of them count.
ALONE = [
    ([9, 20, 21], [1, 2]),
    ([6, 30, 31, 4, 40, 41, 42], [1, 2, 4, 5, 6]),
    ([8, 9], [1]),
]


def naive(model, ids, places) -> list[float]:
    """NLL of the tokens at some places, in float64."""
    with torch.no_grad():
        logits = model.double()(torch.tensor([ids])).logits[0]
    model.float()
    return [
        math.log(sum(math.exp(x) for x in logits[place - 1].tolist()))
        - float(logits[place - 1, ids[place]])
        for place in places
    ]


def with_answers():
    return [(example, answer_positions(example["labels"])) for example in EXAMPLES]


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_answers_alone_are_scored_as_the_model_would(side) -> None:
    model = tiny.llama().eval()
    found = score_alone(scorer(lambda some: padded(some, side)), model, model, with_answers())
    assert found[-1] is None, "nothing stands before this answer that could be left out"
    for one, (ids, places) in zip(found[:-1], ALONE, strict=True):
        assert one.n_input == len(ids)
        expected = torch.tensor(naive(model, ids, places))
        torch.testing.assert_close(one.nll, expected, rtol=1e-5, atol=1e-5)


def test_candidates_get_both_means_and_the_tokens_that_the_pass_read() -> None:
    model = tiny.llama().eval()
    given = scorer(needs=frozenset({SCORES, EL2N, WITHOUT_PROMPT, S_IFD}))
    candidates = []
    for number, (example, answers) in enumerate(with_answers()):
        (scores,) = given(model, model, [(example, len(answers))])
        candidates.append(
            Candidate(example, f"s{number}", 0, False, answers, nll=scores.nll, scored_tokens=10)
        )
    forwards = count_forwards(model.model)
    score_without_prompt(given, model, model, candidates)
    assert sum(forwards) == 3, "one row each, but for the one without a prompt"
    for candidate, (ids, places) in zip(candidates, ALONE, strict=False):
        alone, after_prompt = candidate.extras[WITHOUT_PROMPT].tolist()
        nll = naive(model, ids, places)
        assert alone == pytest.approx(sum(nll) / len(nll), rel=1e-5)
        assert after_prompt == pytest.approx(float(candidate.nll.double().mean()))
        assert candidate.scored_tokens == 10 + len(ids)
        assert candidate.extras[S_IFD].tolist() == pytest.approx(
            [float(selective_ifd(candidate.nll, torch.tensor(nll)))], rel=1e-4
        )
        assert set(candidate.extras) == {WITHOUT_PROMPT, S_IFD}, "others are of one pass"
    last = candidates[-1]
    assert last.extras[WITHOUT_PROMPT].isnan().all()
    assert last.extras[S_IFD].isnan().all()
    assert last.scored_tokens == 10
    assert {len(dict(row_of(one).extras)[WITHOUT_PROMPT]) for one in candidates} == {2}


def test_without_answers_nothing_is_done() -> None:
    model = tiny.llama().eval()
    assert score_alone(scorer(), model, model, []) == []
