"""The study's tables are those of its cells."""

import shutil
from pathlib import Path

import pytest

from qtuning import cli

STUDY = Path(__file__).parents[2] / "study"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(STUDY / "results" / "cells", folder / "cells")
    words = ["compare", "--config", str(STUDY / "grid.yaml"), "--tables_only"]
    assert cli.main([*words, "--output_dir", str(folder)]) == 0
    return folder


@pytest.mark.parametrize("name", ["results.md", "results.csv", "results.tex"])
def test_the_committed_tables_are_those_of_the_committed_cells(made, name) -> None:
    assert (made / name).read_text() == (STUDY / "results" / name).read_text()
