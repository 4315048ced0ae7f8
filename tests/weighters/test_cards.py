"""The page of token weights is that of the code, and names all that a weighter is given."""

import re
from dataclasses import fields
from pathlib import Path

from qtuning import TOKEN_WEIGHTERS, TokenBatch
from qtuning.pruners.cards import FIELDS
from qtuning.weighters.cards import page
from qtuning.weighters.protocols import NEEDS

PAGE = Path(__file__).parents[2] / "docs" / "token-weights.md"


def test_the_page_is_up_to_date() -> None:
    assert PAGE.read_text() == page(), "run: python docs/generate.py"


def test_every_weighter_is_on_the_page_with_a_whole_card() -> None:
    text = page()
    for name in TOKEN_WEIGHTERS:
        assert f"| `{name}` |" in text
    sections = text.split("### ")[1:]
    assert len(sections) == len(TOKEN_WEIGHTERS)
    for section in sections:
        assert all(section.count(f"- **{field}**: ") == 1 for field in FIELDS), section


def test_the_page_names_all_that_a_weighter_is_given() -> None:
    named = set(re.findall(r"`(\w+)`", page()))
    assert named >= {*NEEDS, *(one.name for one in fields(TokenBatch))}
