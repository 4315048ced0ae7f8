import hypothesis.strategies as st
import pytest
from hypothesis import given

from qtuning.reports.token_kinds import (
    CONTENT,
    FINAL,
    FORMATTING,
    FUNCTION,
    KINDS,
    NUMBER,
    kinds_of,
)


@pytest.mark.parametrize(
    ("pieces", "kinds"),
    [
        (["The", " cat", " sat"], [FUNCTION, CONTENT, CONTENT]),
        (
            ["16", " -", " 3", " =", " ", "13"],
            [NUMBER, FORMATTING, NUMBER, NUMBER, FORMATTING, NUMBER],
        ),
        (
            ["**", "Bold", "**", "\n", "-"],
            [FORMATTING, CONTENT, FORMATTING, FORMATTING, FORMATTING],
        ),
        (["So", " 4", ".\n", "#### ", "42"], [FUNCTION, NUMBER, FORMATTING, FORMATTING, FINAL]),
        (
            ["The answer", " is", " B", ".\n", "Bye"],
            [FUNCTION, FUNCTION, FINAL, FORMATTING, CONTENT],
        ),
        (["Done", "<|im_end|>"], [CONTENT, FORMATTING]),
        (["wh", "ich"], [FUNCTION, FUNCTION]),
        (["el", "ephant"], [CONTENT, CONTENT]),
        (["don", "'t"], [CONTENT, CONTENT]),
        (["", "é"], [FORMATTING, CONTENT]),
    ],
)
def test_kinds(pieces, kinds):
    assert kinds_of(pieces) == kinds


def test_the_last_final_answer_counts():
    pieces = ["####", " 1", "\n", "####", " 2"]
    assert kinds_of(pieces) == [FORMATTING, NUMBER, FORMATTING, FORMATTING, FINAL]


@given(st.lists(st.text(max_size=6), max_size=30))
def test_every_token_has_one_kind(pieces):
    kinds = kinds_of(pieces)
    assert len(kinds) == len(pieces)
    assert set(kinds) <= set(KINDS)
