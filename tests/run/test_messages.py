"""What a run prints, and when it keeps quiet."""

import pytest
from transformers.utils import logging

from qtuning.arguments import PruningArguments
from qtuning.run.messages import print_budget
from qtuning.step.work import StepCounts

from .. import runs

START, END = "Pruning: ", "Budget: what was asked for, what was done"


@pytest.fixture(autouse=True)
def _verbosity():
    before = logging.get_verbosity()
    yield
    logging.set_verbosity(before)


@pytest.mark.parametrize("level", ["passive", "warning", "info"])
def test_a_run_tells_what_it_prunes_and_what_that_cost(tmp_path, capsys, level):
    runs.pruning(tmp_path, max_steps=1, log_level=level).train()
    said = capsys.readouterr().out
    assert START in said
    assert END in said


@pytest.mark.parametrize("level", ["error", "critical"])
def test_a_run_that_is_to_tell_of_errors_alone_does(tmp_path, capsys, level):
    runs.pruning(tmp_path, max_steps=1, log_level=level).train()
    said = capsys.readouterr().out
    assert START not in said
    assert END not in said


def test_transformers_own_verbosity_counts_as_well(tmp_path, capsys):
    logging.set_verbosity_error()
    runs.pruning(tmp_path, max_steps=1).train()
    assert END not in capsys.readouterr().out


def test_without_bars_the_budget_is_lines_and_with_them_a_table(tmp_path, capsys):
    runs.pruning(tmp_path / "lines", max_steps=1, disable_tqdm=True).train()
    lines = capsys.readouterr().out
    assert "  samples trained on: 50.0% (4 of 8) (asked for: 50.0%)" in lines
    assert "┃" not in lines
    runs.pruning(tmp_path / "table", max_steps=1, disable_tqdm=False).train()
    assert "┃" in capsys.readouterr().out


def test_lines_and_table_say_the_same(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    counts = StepCounts(steps=1, samples=8, kept_samples=2, answer_tokens=40, kept_answer_tokens=9)
    print_budget(counts, PruningArguments(), plain=True)
    plain = capsys.readouterr().out
    print_budget(counts, PruningArguments())
    table = capsys.readouterr().out
    for figure in ("25.0% (2 of 8)", "22.5% (9 of 40)", "12.5%"):
        assert figure in plain
        assert figure in table
