"""The README is short, and its code does what it says; test_docs.py runs all of it."""

import re

import pytest

from qtuning import read_ledger
from qtuning.commands import main as cli

from .. import device, tiny
from .pages import MODEL, blocks, commands, text

README = text("README.md")


@pytest.fixture
def local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.save_model(tmp_path / "model", chat=True)
    tiny.dataset().to_json(tmp_path / "data.jsonl")
    return str(tmp_path / "model")


def test_it_is_short() -> None:
    assert len(README.splitlines()) <= 120


def test_the_first_screen_says_what_it_is_proven_on() -> None:
    top = README.split("## ")[0]
    for word in ("docs/images/plane.png", "Status", "CPU", "GPU", "docs/study.md"):
        assert word in top


def test_the_ten_lines_of_python(local) -> None:
    code = blocks("README.md", "python")[0].code
    assert len(code.strip().splitlines()) <= 10
    for theirs, ours in (
        (MODEL, local),
        ('"trl-lib/Capybara", split', '"json", data_files="data.jsonl", split'),
        ('"out", ', f'"out", **{device.arguments()}, report_to="none", max_steps=2, '),
    ):
        assert theirs in code
        code = code.replace(theirs, ours)
    exec(code, {})
    assert read_ledger("out").num_rows == 2 * 24


def test_the_line_on_the_command_line(local) -> None:
    line = next(words for words in commands("README.md") if words[:2] == ["qtuning", "train"])
    words = [local if word == MODEL else word for word in line[1:]]
    assert cli.main([*words, *device.flags(), "--max_steps", "1", "--report_to", "none"]) == 0
    assert read_ledger("out").num_rows == 8


def test_the_quadrants_are_those_of_the_page_that_explains_them() -> None:
    tables = [
        re.findall(r"^\| Q.*$", text(page), re.MULTILINE)
        for page in ("README.md", "docs/how-it-works.md")
    ]
    assert tables[0] == tables[1]
    assert len(tables[0]) == 4
