"""A command whose package is missing says in one line which extra to install, before it works."""

import json
import re
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import tomllib
import yaml

from qtuning.commands import compare, evaluate, report, score, train
from qtuning.commands import main as cli

from .. import device, tiny
from ..bad_input.conftest import score_table

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
GRID = {
    "models": {"tiny": "model"},
    "data": {"sums": {"train": "rows.jsonl"}},
    "methods": {"full": {"sample_pruner": "full"}},
    "grid": [{"budgets": [[0.5, 0.5]], "seeds": [0]}],
}
LORA = {**GRID, "data": {"sums": {"train": "rows.jsonl", "lora": {"r": 2}}}}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """A folder with a model, rows, scores, an adapter and grids, where commands are run."""
    monkeypatch.chdir(tmp_path)
    tiny.save_model(tmp_path / "model")
    tiny.dataset(8).to_json(tmp_path / "rows.jsonl")
    pq.write_table(score_table(), tmp_path / "scores.parquet")
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"base_model_name_or_path": "x"}')
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(GRID))
    (tmp_path / "lora.yaml").write_text(yaml.safe_dump(LORA))
    return tmp_path


NAMED = "--model_name_or_path model --dataset_name rows.jsonl"
IMPORTED = (compare, evaluate, report, score, train)
"""Before packages are hidden: TRL and others would stumble over how that is done here."""
CASES = [
    ("peft", "peft", f"train {NAMED} --use_peft --output_dir out {' '.join(device.flags())}"),
    ("peft", "peft", "evaluate --model_name_or_path adapter --dataset_name rows.jsonl"),
    ("peft", "peft", f"score {NAMED.replace('path model', 'path adapter')} --output s.parquet"),
    ("peft", "peft", f"train {NAMED.replace('path model', 'path adapter')} --output_dir out"),
    ("peft", "peft", "compare --config lora.yaml --output_dir out"),
    ("matplotlib", "report", "report scores.parquet --output page.html --figures pictures"),
    ("matplotlib", "eval,report", "compare --config grid.yaml --output_dir out"),
    ("scipy", "eval,report", "compare --config grid.yaml --output_dir out --tables_only"),
    ("lm_eval", "eval", "evaluate --model_name_or_path model --tasks arc_easy"),
    ("gguf", "gguf", f"score {NAMED.replace(' --', '.gguf --')} --output s.parquet"),
    ("ray", "ray", f"score {NAMED} --engine ray --output s.parquet"),
]


@pytest.mark.parametrize(("package", "extra", "command"), CASES)
def test_what_is_missing_is_said_with_its_extra(
    here, monkeypatch, capfd, package, extra, command
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    before = sorted(here.rglob("*"))
    assert cli.main(command.split()) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("qtuning: ")]
    assert len(said) == 1
    assert f"needs {package} (" in said[0]
    assert said[0].endswith(f": pip install 'qtuning[{extra}]'")
    made = {str(path.relative_to(here)) for path in {*here.rglob("*")} - {*before}}
    assert made <= {"s.parquet.parts"}, "nothing was done"


def test_every_extra_that_is_named_is_there() -> None:
    called = re.compile(r"""\bneed\([^)]*?, "([a-z,]+)", "[a-z_.", ]+"\)""")
    files = (Path(__file__).parents[2] / "src").rglob("*.py")
    named = [one for file in files for one in called.findall(file.read_text(encoding="utf-8"))]
    assert set(named) == {extra for _, extra, _ in CASES}
    assert {extra for one in named for extra in one.split(",")} <= {
        *PROJECT["optional-dependencies"]
    }


def test_a_report_needs_no_extra(here, monkeypatch) -> None:
    for package in {package for package, _, _ in CASES}:
        monkeypatch.setitem(sys.modules, package, None)
    assert cli.main(["report", "scores.parquet", "--output", "page.html"]) == 0
    command = ["diff", "scores.parquet", "scores.parquet", "--sample_ratio", "0.5"]
    assert cli.main([*command, "--output", "diff.json"]) == 0
    assert json.loads((here / "diff.json").read_text())
