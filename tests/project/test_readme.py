"""The README's code runs, with local names in place of the Hub's."""

import re
import shlex
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from qtuning import SAMPLE_PRUNERS, TOKEN_PRUNERS, read_ledger
from qtuning.commands import main as cli
from qtuning.pruners.protocols import SamplePool

from .. import tiny

README = (Path(__file__).parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


@pytest.fixture
def local(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tiny.save_model(tmp_path / "model", chat=True)
    tiny.dataset().to_json(tmp_path / "data.jsonl")
    return str(tmp_path / "model")


def test_the_ten_lines_of_python(local) -> None:
    code = next(block for block in blocks("python") if "trainer.train()" in block)
    assert len(code.strip().splitlines()) <= 10
    for theirs, ours in (
        ("HuggingFaceTB/SmolLM2-135M-Instruct", local),
        ('"trl-lib/Capybara", split', '"json", data_files="data.jsonl", split'),
        ('"out", ', '"out", use_cpu=True, report_to="none", max_steps=2, '),
    ):
        assert theirs in code
        code = code.replace(theirs, ours)
    exec(code, {})
    assert read_ledger("out").num_rows == 2 * 24


def test_the_line_on_the_command_line(local) -> None:
    line = next(line for line in README.splitlines() if line.startswith("qtuning train"))
    words = shlex.split(line.replace("HuggingFaceTB/SmolLM2-135M-Instruct", local))[1:]
    assert cli.main([*words, "--use_cpu", "--max_steps", "1", "--report_to", "none"]) == 0
    assert read_ledger("out").num_rows == 8


def test_the_pruner_of_ones_own() -> None:
    code = next(block for block in blocks("python") if "def longer_half" in block)
    names: dict = {}
    exec(code, names)
    pool = SamplePool(torch.ones(3), torch.ones(3), torch.tensor([1, 2, 3]), list("abc"), 1, 0)
    assert names["longer_half"](pool, None).tolist() == [False, True, True]


def test_every_pruner_is_named() -> None:
    for name in (*SAMPLE_PRUNERS, *TOKEN_PRUNERS):
        assert f"`{name}`" in README


def test_the_line_that_evaluates_held_out_rows(local, tmp_path, capsys) -> None:
    tiny.dataset(4, seed=1).to_json(tmp_path / "held_out.jsonl")
    line = next(one for one in README.splitlines() if "--dataset_name held_out.jsonl" in one)
    words = shlex.split(line.replace("--model_name_or_path out", f"--model_name_or_path {local}"))
    assert cli.main(words[1:]) == 0
    assert "answer NLL" in capsys.readouterr().out


def test_the_lines_that_score_prune_and_diff(local, capsys) -> None:
    block = next(block for block in blocks("bash") if "qtuning score" in block)
    lines = block.strip().splitlines()
    assert [line.split()[1] for line in lines] == ["score", "prune", "prune", "report", "diff"]
    for line in lines:
        words = shlex.split(line.replace("HuggingFaceTB/SmolLM2-135M-Instruct", local))
        assert cli.main(words[1:]) == 0, line
    Path("report.html").unlink()
    shown = capsys.readouterr().out
    assert "6 of 24 rows (25.0%)" in shown
    assert "scores.parquet: 3 of 24 samples" in shown
    assert pq.read_table("kept/train.parquet").num_rows == 6


def test_the_same_in_python(local) -> None:
    code = next(block for block in blocks("python") if "qtuning.score" in block)
    for theirs, ours in (
        ("HuggingFaceTB/SmolLM2-135M-Instruct", local),
        ('"trl-lib/Capybara", split', '"json", data_files="data.jsonl", split'),
    ):
        assert theirs in code
        code = code.replace(theirs, ours)
    names: dict = {}
    exec(code, names)
    assert Path("report.html").read_text().startswith("<!doctype html>")
    assert len(names["kept"]) == pq.read_table("kept/train.parquet").num_rows == 6


def test_the_commands_exist() -> None:
    makefile = (Path(__file__).parents[2] / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
