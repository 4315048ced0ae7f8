"""Rows that are in the evaluation data, exactly or nearly."""

import pytest

from qtuning.inspection.overlap import plain

from .made import finding, pair, talk

ROWS = [pair(f"What is {i}?", f"It is {i}.") for i in range(6)]


def names(found):
    return {one.name: one.rows for one in found.findings if "evaluation" in one.name}


@pytest.mark.parametrize(
    ("other", "expected"),
    [
        (pair("What is 2?", "It is 2."), {"rows-in-evaluation": (3,)}),
        (pair("what  is:\n2", "IT IS 2"), {"rows-in-evaluation": (3,)}),
        (pair("What is 2?", "Two."), {"prompts-in-evaluation": (3,)}),
        (pair("WHAT is 2", "Two."), {"prompts-in-evaluation": (3,)}),
        (pair("What is 22?", "It is 2."), {}),
        (pair("?!", "..."), {}),
    ],
)
def test_overlap(look, plain, other, expected) -> None:
    found = look(ROWS, plain, evaluation=[pair("Why?", "So."), other])
    assert names(found) == expected
    facts = found.facts["evaluation"]
    assert facts["rows"] == 2
    assert facts["rows in both, nearly"] == len(expected.get("rows-in-evaluation", ()))
    assert facts["rows in both, exactly"] == int(other in ROWS)


def test_without_evaluation_data_nothing_is_told(look, plain) -> None:
    found = look(ROWS, plain)
    assert "evaluation" not in found.facts
    assert names(found) == {}


def test_conversations_and_rows_without_letters(look, chat) -> None:
    rows = [talk("Hi!", "Ho"), talk("?", "!"), talk("Hi", "Other")]
    found = look(rows, chat, evaluation=[talk("hi", "ho"), talk("?!", "!!")])
    assert names(found) == {"rows-in-evaluation": (1,), "prompts-in-evaluation": (3,)}
    assert finding(found, "rows-in-evaluation").level == "warning"


def test_plain() -> None:
    assert plain(" The Straße,\n_1.5_ ") == "thestrasse15"
