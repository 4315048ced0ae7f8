"""Nothing in the data can do anything to the terminal."""

import pytest

from qtuning.io.row_text import clean, first_words


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "ask this"},
        {"prompt": [{"role": "user", "content": "ask this"}]},
        {
            "messages": [
                {"role": "system", "content": "be kind"},
                {"role": "user", "content": "ask this"},
            ]
        },
        {"conversations": [{"from": "human", "value": "ask this"}]},
        {"instruction": "ask this", "output": "no"},
        {"text": "ask this"},
        {"prompt": "", "text": "ask this"},
        {"prompt": None, "messages": [{"role": "user", "content": "ask this"}]},
    ],
)
def test_the_prompt_is_found_in_every_format(row):
    assert first_words(row) == "ask this"


@pytest.mark.parametrize("row", [{}, {"input_ids": [1]}, {"messages": []}, {"messages": [3]}])
def test_a_row_without_text_has_none(row):
    assert first_words(row) is None


@pytest.mark.parametrize("bad", ["\x1b[31m", "\x07", "\x9b", "\u202e", "\u200b", "\ud800", "\x00"])
def test_control_characters_are_replaced(bad):
    cleaned = clean(f"before{bad}after", 60)
    assert bad[0] not in cleaned
    assert cleaned.startswith("before\N{REPLACEMENT CHARACTER}")


def test_it_is_one_line_and_cut():
    assert clean(" two\n\tlines ", 60) == "two lines"
    assert clean("x" * 10_000, 20) == "x" * 19 + "…"
    assert clean("x" * 20, 20) == "x" * 20
