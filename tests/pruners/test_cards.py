"""The page of method cards is that of the code."""

from pathlib import Path

from qtuning.pruners.cards import FIELDS, cards
from qtuning.pruners.registry import SAMPLE_PRUNERS, TOKEN_PRUNERS

PAGE = Path(__file__).parents[2] / "docs" / "pruners.md"


def test_the_page_is_up_to_date():
    told = "python -m qtuning.pruners.cards > docs/pruners.md"
    assert PAGE.read_text() == cards(), f"run: {told}"


def test_every_pruner_is_on_the_page_with_a_whole_card():
    text = cards()
    for name in (*SAMPLE_PRUNERS, *TOKEN_PRUNERS):
        assert f"| `{name}` |" in text
    sections = text.split("### ")[1:]
    assert len(sections) > 15
    for section in sections:
        assert all(section.count(f"- **{field}**: ") == 1 for field in FIELDS), section
