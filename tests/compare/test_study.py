"""The tables of the studies are those of their cells."""

import importlib.util
import json
import shutil
from pathlib import Path

import pytest

from qtuning.commands import main as cli
from qtuning.compare.grid import read_grid

STUDY = Path(__file__).parents[2] / "study"
RESULTS_OF = {"grid.yaml": "results"}
RESULTS = """### m, both: mean of a, b

| budget | method | score | NLL |
|---|---|---:|---:|
|  | full | 9.0 ± 1.0 | 1.000 |
| 25% x 50% | q-tuning | 8.0 | 2.000 |
| 50% x 50% | q-tuning | 7.0 | 3.000 |

### m, a

| budget | method | NLL |
|---|---|---:|
|  | full | 1.500 |
| 25% x 50% | q-tuning | 2.500 |

### m, a: differences to full

| budget | method | NLL minus full |
|---|---|---:|
| 25% x 50% | q-tuning | 1.000 |
"""


@pytest.fixture(scope="module")
def quote():
    spec = importlib.util.spec_from_file_location("quote", STUDY / "quote.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("grid", RESULTS_OF)
def test_the_committed_tables_are_those_of_the_committed_cells(tmp_path, grid) -> None:
    committed = STUDY / RESULTS_OF[grid]
    shutil.copytree(committed / "cells", tmp_path / "cells")
    words = ["compare", "--config", str(STUDY / grid), "--tables_only"]
    assert cli.main([*words, "--output_dir", str(tmp_path)]) == 0
    for name in ("results.md", "results.csv", "results.tex"):
        assert (tmp_path / name).read_text() == (committed / name).read_text(), name


@pytest.mark.parametrize("grid", RESULTS_OF)
def test_no_cell_of_a_grid_is_missing_and_none_is_too_many(grid) -> None:
    files = (STUDY / RESULTS_OF[grid] / "cells").glob("*.json")
    found = sorted(json.loads(file.read_text())["cell"] for file in files)
    assert found == sorted(cell.name for cell in read_grid(STUDY / grid, own_code=True).cells())


def test_the_pages_have_the_tables_of_the_committed_results(quote) -> None:
    for path, results in quote.RESULTS.items():
        page = path.read_text()
        assert quote.with_tables(page, results.read_text()) == page, "python study/quote.py --write"
        assert page.count("<!-- /table -->") > 2


@pytest.mark.parametrize(
    ("asked", "rows"),
    [
        (
            "table: both | 25% x 50% | NLL; score | q-tuning; full",
            ["| 25% x 50% | q-tuning | 2.000 | 8.0 |", "|  | full | 1.000 | 9.0 ± 1.0 |"],
        ),
        (
            "table: both | * | NLL | q-tuning",
            ["| 25% x 50% | q-tuning | 2.000 |", "| 50% x 50% | q-tuning | 3.000 |"],
        ),
        (
            "table: a: differences to full | * | * | *",
            ["| 25% x 50% | q-tuning | 1.000 |"],
        ),
        (
            "across: both; a | 25% x 50% | NLL | *",
            ["|  | full | 1.000 | 1.500 |", "| 25% x 50% | q-tuning | 2.000 | 2.500 |"],
        ),
        ("across: both; a | 25% x 50% | score | full", ["|  | full | 9.0 ± 1.0 |  |"]),
    ],
)
def test_a_place_gets_the_rows_that_it_asks_for(quote, asked, rows) -> None:
    page = f"before\n<!-- {asked} -->\nold\n<!-- /table -->\nafter"
    made = quote.with_tables(page, RESULTS)
    assert made.splitlines()[4:-2] == rows
    assert made.startswith(f"before\n<!-- {asked} -->\n| budget | method | ")
    assert made.endswith("|\n<!-- /table -->\nafter")
    assert quote.with_tables(made, RESULTS) == made


@pytest.mark.parametrize("asked", ["c | * | * | *", "a | * | score | *", "a | * | NLL | random"])
def test_what_the_results_do_not_have_is_not_left_out_silently(quote, asked) -> None:
    with pytest.raises(KeyError):
        quote.with_tables(f"<!-- table: {asked} -->\n<!-- /table -->", RESULTS)
