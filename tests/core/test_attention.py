"""Attention statistics against loops over positions."""

import pytest
import torch

from qtuning.core.attention import prompt_attention, raters, received_attention


def causal(n, seed=0):
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randn(n, n, generator=draw)
    future = torch.ones(n, n, dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(1)


ANSWERS = [[3, 4, 5], [1], [0, 1, 2, 3], [2, 4, 5]]


@pytest.mark.parametrize("answers", ANSWERS)
def test_attention_to_the_prompt_is_what_is_left_by_the_answers(answers):
    attention = causal(6)
    expected = [sum(float(attention[i, j]) for j in range(6) if j not in answers) for i in answers]
    made = prompt_attention(attention, torch.tensor(answers))
    torch.testing.assert_close(made, torch.tensor(expected))


@pytest.mark.parametrize("answers", ANSWERS)
@pytest.mark.parametrize("chosen", [None, [2, 4], [5], []])
def test_received_attention_is_a_mean_over_those_who_could_look(answers, chosen):
    attention = causal(6)
    means = []
    for j in answers:
        looks = [i for i in range(j + 1, 6) if chosen is None or i in chosen]
        means.append(sum(float(attention[i, j]) for i in looks) / len(looks) if looks else None)
    seen = [mean for mean in means if mean is not None]
    rest = sum(seen) / len(seen) if seen else 0.0
    expected = torch.tensor([rest if mean is None else mean for mean in means])
    who = None if chosen is None else torch.tensor(chosen, dtype=torch.int64)
    made = received_attention(attention, torch.tensor(answers), who)
    torch.testing.assert_close(made, expected)


def test_early_tokens_do_not_win_by_being_seen_more_often():
    uniform = torch.ones(6, 6).tril() / torch.arange(1, 7)[:, None]
    made = received_attention(uniform, torch.arange(6))
    assert float(made[0]) == pytest.approx(sum(1 / n for n in range(2, 7)) / 5)
    assert float(made[0]) > float(made[4])  # later queries spread over more keys, no more than that


def test_raters_resemble_the_prompt():
    hidden = torch.tensor([[1.0, 0.0], [1.0, 0.1], [0.9, 0.2], [0.0, 1.0], [1.0, 0.0]])
    assert raters(hidden, torch.tensor([2, 3, 4])).tolist() == [2, 4]
    assert raters(hidden, torch.arange(5)).tolist() == [0, 1, 2, 3, 4], "no prompt to resemble"
    alike = torch.ones(5, 2) * 0.3
    assert raters(alike, torch.tensor([3, 4])).tolist() == [3, 4]
