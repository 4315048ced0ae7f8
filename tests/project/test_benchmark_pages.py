"""The pages have the tables of the committed measurements."""

import json

import headline

from .test_benchmarks import BENCHMARKS, tables


def test_readme_and_docs_have_the_tables_of_the_committed_results() -> None:
    content = json.loads((BENCHMARKS / "results" / "speed.json").read_text())
    for path, text in headline.pages(content).items():
        assert path.read_text() == text, "python benchmarks/headline.py --write"


def test_every_table_has_its_place() -> None:
    content = json.loads((BENCHMARKS / "results" / "speed.json").read_text())
    placed = [name for names in headline.PLACES.values() for name in names]
    assert sorted(placed) == sorted(headline.tables_by_name(content))


def test_the_committed_page_is_made_of_the_committed_results() -> None:
    results = BENCHMARKS / "results"
    page = tables.document(json.loads((results / "speed.json").read_text()))
    assert (results / "speed.md").read_text().startswith(page)
