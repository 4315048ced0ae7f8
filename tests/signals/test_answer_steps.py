"""Where the steps of an answer end."""

import pytest

from qtuning.signals.answer_steps import StepReader, answer_steps


@pytest.mark.parametrize(
    ("pieces", "steps"),
    [
        (["a", " b", "\n\n", "c", "\n\n", "d"], [0, 0, 0, 1, 1, 2]),
        (["a", "\n", " \n", "b"], [0, 0, 0, 1]),
        (["a", "\n", "b", "\n", "c"], [0, 0, 1, 1, 2]),
        (
            ["a", "\n", "b", "\n\n", "c"],
            [0, 0, 0, 0, 1],
        ),  # line ends do not count then
        (["a.\n\nb", "c"], [0, 1]),
        (["a", "b"], [0, 0]),
        (["a", "\n\n"], [0, 0]),  # a blank line at the very end separates nothing
        ([], []),
    ],
)
def test_steps_end_at_blank_lines_else_at_line_ends(pieces, steps):
    assert answer_steps(pieces).tolist() == steps


def test_the_text_of_a_token_is_asked_for_once():
    asked = []
    reader = StepReader(lambda ids: asked.append(ids) or "a\n"[ids[0]])
    assert reader([0, 1, 0]).tolist() == [0, 0, 1]
    assert reader([1, 0]).tolist() == [0, 1]
    assert asked == [[0], [1]]
