"""The tables of the studies are those of their cells."""

import importlib.util
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from qtuning.commands import main as cli
from qtuning.compare.grid import Budget, read_grid
from qtuning.compare.key import cell_key, determined_by

STUDY = Path(__file__).parents[2] / "study"
RESULTS_OF = {"grid.yaml": "results", "cheaper_scoring.yaml": "cheaper_scoring"}
RESULTS_OF |= {  # those of the further studies that have been run
    f"{name}.yaml": name
    for name in ("noise", "protocols", "weights")
    if (STUDY / name / "cells").is_dir()
}
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
def test_the_committed_tables_are_those_of_the_committed_cells(tmp_path, monkeypatch, grid) -> None:
    committed = STUDY / RESULTS_OF[grid]
    shutil.copytree(committed / "cells", tmp_path / "cells")
    monkeypatch.setattr("qtuning.commands.compare.draw", lambda *_: [])  # takes most of the time
    words = ["compare", "--config", str(STUDY / grid), "--tables_only"]
    assert cli.main([*words, "--output_dir", str(tmp_path)]) == 0
    for name in ("results.md", "results.csv", "results.tex"):
        assert (tmp_path / name).read_text() == (committed / name).read_text(), name


@pytest.mark.parametrize("grid", RESULTS_OF)
def test_no_cell_of_a_grid_is_missing_and_none_is_too_many(grid) -> None:
    files = (STUDY / RESULTS_OF[grid] / "cells").glob("*.json")
    found = sorted(json.loads(file.read_text())["cell"] for file in files)
    assert found == sorted(cell.name for cell in read_grid(STUDY / grid, own_code=True).cells())


def without_hashes(determined):
    """What determines a cell, without the models and data that are not part of the package."""
    plain = json.loads(json.dumps(determined))
    del plain["model"], plain["data"]["train"], plain["data"]["held_out"]
    del plain["evaluation"]["tasks"]
    return plain


def test_the_committed_cells_are_known_to_this_version() -> None:
    """Given their models and data, `qtuning compare` finds every one of them done."""
    records = [json.loads(path.read_text()) for path in (STUDY / "results" / "cells").iterdir()]
    records = {record["cell"]: record for record in records}
    grid = read_grid(STUDY / "grid.yaml")
    cells = [cell for cell in grid.cells() if cell.name in records]
    assert len(cells) == len(records) > 200
    for cell in cells:
        record = records[cell.name]
        assert cell_key(record["determined_by"]) == record["key"], cell.name
        budget = None if record["ratios"] is None else Budget(**record["ratios"])
        now = determined_by(replace(cell, budget=budget), grid)
        assert without_hashes(now) == without_hashes(record["determined_by"]), cell.name


def test_the_pages_have_the_tables_of_the_committed_results(quote) -> None:
    for path, results in quote.RESULTS.items():
        page = path.read_text()
        filled = quote.with_tables(page, results.read_text(), quote.other_results())
        assert filled == page, "python study/quote.py --write"
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


def test_a_table_of_another_study_is_filled_once_that_has_results(quote) -> None:
    page = "<!-- table of noise: both | * | NLL | full -->\nto come\n<!-- /table -->\n"
    assert quote.with_tables(page, RESULTS) == page
    filled = quote.with_tables(page, "", {"noise": RESULTS})
    assert "|  | full | 1.000 |" in filled
    assert "to come" not in filled


def test_the_grid_of_two_protocols_is_one() -> None:
    grid = read_grid(STUDY / "protocols.yaml")
    twice = {name for name, method in grid.methods.items() if method.data_ratio == "same"}
    assert {cell.method.name for cell in grid.cells()} == set(grid.methods)
    assert all(name.removesuffix("-twice") in grid.methods for name in twice)
    assert "q-tuning" not in twice, "its ratio is applied once in either"


@pytest.mark.parametrize("asked", ["c | * | * | *", "a | * | score | *", "a | * | NLL | random"])
def test_what_the_results_do_not_have_is_not_left_out_silently(quote, asked) -> None:
    with pytest.raises(KeyError):
        quote.with_tables(f"<!-- table: {asked} -->\n<!-- /table -->", RESULTS)
