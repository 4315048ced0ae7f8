"""Forgetting, exact match, scores made before training, and a ratio that is applied twice."""

import json
from dataclasses import replace

import pytest
import yaml

from qtuning.arguments import PruningArguments
from qtuning.commands.main import main
from qtuning.compare.cell import cost
from qtuning.compare.data_ratio import RowSizes, rows_to_keep
from qtuning.compare.figures import lines
from qtuning.compare.forgetting import forgetting_tables
from qtuning.compare.grid import read_grid
from qtuning.compare.marked import marked_tables
from qtuning.compare.needed import Needed, needs_scores
from qtuning.compare.other_rows import OtherRows
from qtuning.compare.runner import BEFORE, CELLS, Runner
from qtuning.errors import UsageError
from qtuning.evaluation.evaluate import evaluate

from .. import tiny
from .test_compare import TRAINING, compare, forked, record  # noqa: F401 - a fixture
from .test_grid import GRID, folder, grid_of, write_rows  # noqa: F401 - a fixture

TWICE = {"sample_pruner": "random", "token_pruner": "none", "data_ratio": "same"}
METHODS = {
    "zero-shot": {"train": False},
    "full": {"sample_pruner": "full", "token_pruner": "none", "budgeted": False},
    "random": {"sample_pruner": "random", "token_pruner": "none"},
    "twice": TWICE,
    "twice-longest": {**TWICE, "sample_pruner": "longest"},
    "twice-ppl": {**TWICE, "sample_pruner": "ppl-high"},
    "once": {"token_pruner": "none", "scored_before": True},
    "as-dear": {"sample_pruner": "random", "token_pruner": "none", "compute_of": "once"},
}


@pytest.fixture
def grid(folder):  # noqa: F811
    write_rows(folder / "others.jsonl", 5, seed=3)
    sums = {
        **GRID["data"]["sums"],
        "train_rows": 16,
        "forgetting": ["other", "others.jsonl"],
        "exact_match": {"questions": 3, "max_new_tokens": 4},
        "score": ["held_out:exact_match,flexible-extract"],
    }
    other = {"train": "train.jsonl", "held_out": "others.jsonl", "held_out_rows": 4, "row_seed": 2}
    path = folder / "grid.yaml"
    blocks = [{"data": ["sums"], "budgets": [[0.25, 1.0]], "seeds": [0]}]
    content = {**GRID, "data": {"sums": sums, "other": other}, "methods": METHODS}
    path.write_text(yaml.safe_dump({**content, "training": TRAINING, "grid": blocks}))
    return path


@pytest.mark.slow
def test_a_comparison_with_all_of_it(grid, forked, tmp_path, capsys):  # noqa: F811
    out = tmp_path / "out"
    assert compare(grid, out) == 0, capsys.readouterr()
    said = capsys.readouterr().out
    assert said.count("other: untrained (for sums)") == 1, "once for all cells"
    assert said.count("sums: scores") == 1
    records = [json.loads(path.read_text()) for path in (out / CELLS).glob("*.json")]
    by_method = {record["method"]: record for record in records}
    assert by_method.keys() == METHODS.keys()

    # The untrained model's NLL is that of the model as it is evaluated elsewhere, and of the cell
    # that does not train.
    for name, n in (("other", 4), ("others", 5)):
        found = {method: one["forgetting"][name] for method, one in by_method.items()}
        before = {one["before"]["nll"] for one in found.values()}
        assert before == {found["zero-shot"]["nll"]}
        assert all(one["rows"] == n for one in found.values())
        assert found["full"]["nll"] != found["zero-shot"]["nll"]
    (file,) = [
        path for path in (out / BEFORE).glob("*.json") if '"name":"tiny, others' in path.read_text()
    ]
    rows = grid.with_name("model_rows.jsonl")
    text = [json.loads(line) for line in (grid.parent / "others.jsonl").read_text().splitlines()]
    lines_ = [{**row, "prompt": row["prompt"] + "\n"} for row in text]
    rows.write_text("".join(json.dumps(row) + "\n" for row in lines_))
    figures = evaluate(grid.parent / "model", rows, split="train", bf16=False).held_out
    assert json.loads(file.read_text())["nll"] == pytest.approx(figures.nll, rel=1e-6)

    # Exact match is measured for each cell, without the harness.
    assert all({one["task"] for one in each["tasks"]} == {"held_out"} for each in records)
    assert {one["n"] for each in records for one in each["tasks"]} == {3}
    assert all("lm-eval" not in each["versions"] for each in records)

    # A ratio that is applied twice: a quarter of 16 rows in one step, of which one is trained on.
    counts = {method: one["counts"] for method, one in by_method.items() if "counts" in one}
    assert counts["full"]["steps"] == counts["random"]["steps"] == 2
    for method in ("twice", "twice-longest", "twice-ppl"):
        assert (counts[method]["steps"], counts[method]["samples"]) == (1, 4)
        assert counts[method]["kept_samples"] == 1
        assert by_method[method]["cost"]["samples"] == 1 / 16
    assert by_method["random"]["cost"]["samples"] == 4 / 16
    assert by_method["twice"]["cost"]["compute"] < 0.2
    assert by_method["twice-ppl"]["cost"]["compute"] > 1 / 3, "all rows were scored before"

    # Scored once before training: no step scores, and the pass before is counted.
    once = by_method["once"]
    assert once["counts"]["scored_tokens"] == 0
    assert once["scored_before_tokens"] == once["counts"]["input_tokens"], "an epoch"
    assert once["cost"]["compute"] > 1 / once["cost"]["token_cost"]
    assert by_method["as-dear"]["ratios"]["sample_ratio"] == round(once["cost"]["compute"], 3)

    text = (out / "results.md").read_text()
    assert "tiny, sums: NLL on other rows" in text
    assert "tiny, sums: numbers trained on" in text
    assert "nll of others, untrained" in (out / "results.csv").read_text()
    before = {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}
    assert compare(grid, out) == 0
    assert "8 cells, 8 done" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before
    for name in ("train.jsonl", "others.jsonl", "model/model.safetensors"):
        (grid.parent / name).unlink()
    assert compare(grid, out, "--tables_only") == 0
    assert (out / "results.md").read_text() == text


@pytest.mark.slow
def test_what_cells_need_and_do_not_get_fails_those_cells_alone(grid, forked, tmp_path, capsys):  # noqa: F811
    content = yaml.safe_load(grid.read_text())
    content["data"]["plain"] = GRID["data"]["sums"]
    content["data"]["sums"]["forgetting"] = ["none.jsonl"]
    content["grid"] = [
        {"data": ["sums", "plain"], "methods": ["random"], "budgets": [[0.5, 1.0]], "seeds": [0, 1]}
    ]
    grid.write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    assert compare(grid, out) == 2
    told = capsys.readouterr()
    assert told.out.count("FAILED tiny, none: untrained (for sums)") == 1, "it is not tried again"
    assert "cannot be read" in told.out
    assert "2 cells failed, run the command again: tiny, sums: random" in told.err
    assert len(list((out / CELLS).glob("*.json"))) == 2


# What is computed once


def works(grid, **changes):
    cells = {cell.method.name: cell for cell in read_grid(grid).cells()}
    return Needed(read_grid(grid), grid.parent / BEFORE), cells


def test_the_untrained_model_is_asked_once_for_each_model_and_rows(grid):
    needed, cells = works(grid)
    first = needed.untrained(cells["full"])
    assert first.keys() == {"other", "others"}
    assert needed.untrained(cells["once"]) == first
    content = yaml.safe_load(grid.read_text())
    content["data"]["sums"]["training"] = {"learning_rate": 1.0, "num_train_epochs": 2}
    grid.write_text(yaml.safe_dump(content))
    again, cells = works(grid)
    keys = {name: one.key for name, one in again.untrained(cells["full"]).items()}
    assert keys == {name: one.key for name, one in first.items()}, "how it is trained is no matter"
    content["data"]["sums"]["training"] = {"max_length": 10}
    grid.write_text(yaml.safe_dump(content))
    again, cells = works(grid)
    assert again.untrained(cells["full"])["other"].key != first["other"].key
    content["data"]["sums"]["training"] = {}
    content["data"]["other"]["held_out_rows"] = 3
    grid.write_text(yaml.safe_dump(content))
    again, cells = works(grid)
    found = again.untrained(cells["full"])
    assert found["other"].key != first["other"].key
    assert found["others"].key == first["others"].key


def test_scores_that_were_deleted_are_made_again(grid):
    needed, cells = works(grid)
    scores = needed.scores(cells["once"])
    scores.file.parent.mkdir()
    scores.file.write_text("{}")
    assert not scores.done
    for path in scores.keeps.values():
        path.touch()
    assert scores.done


def test_only_those_cells_have_scores_made_that_read_them(grid):
    _, cells = works(grid)
    assert {name for name, cell in cells.items() if needs_scores(cell)} == {"twice-ppl", "once"}


# Rows that are kept before training


def test_rows_are_kept_by_the_pruners_rule():
    names = [f"r{i}" for i in range(8)]
    sizes = RowSizes([10] * 8, [3, 9, 1, 7, 0, 2, 8, 4], [0] * 8)
    longest = PruningArguments(sample_pruner="longest", sample_ratio=0.4, token_ratio=1.0)
    assert rows_to_keep(names, sizes, longest, 0, None) == [1, 6], "of the 7 with an answer"
    drawn = {
        seed: rows_to_keep(names, sizes, replace(longest, sample_pruner="random"), seed, None)
        for seed in range(6)
    }
    assert all(len(kept) == 2 and 4 not in kept for kept in drawn.values())
    assert len(set(map(tuple, drawn.values()))) > 1, "by the seed of the run"
    assert drawn[3] == rows_to_keep(names, sizes, replace(longest, sample_pruner="random"), 3, None)


def test_the_sizes_are_those_of_the_rows(tmp_path):
    from .. import runs

    trainer = runs.pruning(tmp_path, model=tiny.llama())
    sizes = RowSizes.of(trainer)
    rows = tiny.rows()
    answers = [len(row["completion"]) + 1 for row in rows]  # a token a character, and the last one
    assert list(sizes.answer) == answers
    assert list(sizes.input) == [len(r["prompt"]) + n for r, n in zip(rows, answers, strict=True)]
    assert list(sizes.alone) == [n + 1 for n in answers], "with the token before"


def test_costs_are_shares_of_training_on_all_rows():
    class Trainer:
        token_cost = 3.0

    done = {"kept_samples": 2, "kept_answer_tokens": 10, "scored_tokens": 30, "trained_tokens": 20}
    all_rows = {"samples": 64, "answer_tokens": 400, "input_tokens": 1000}
    assert cost(done, Trainer(), all_rows, 60) == {
        "samples": 2 / 64,
        "answer_tokens": 10 / 400,
        "compute": (30 + 60 + 3 * 20) / 3000,
        "token_cost": 3.0,
    }


# Tables


def test_forgetting_is_paired_by_seed(grid):
    content = yaml.safe_load(grid.read_text())
    content["methods"]["random-random"] = {}
    content["grid"][0] |= {"seeds": [0, 1], "methods": ["full", "random-random"]}
    grid.write_text(yaml.safe_dump(content))
    after = {
        ("full", 0): 2.5,
        ("full", 1): 3.5,
        ("random-random", 0): 2.0,
        ("random-random", 1): 3.0,
    }

    def of(cell):
        nll = after[cell.method.name, cell.seed]
        both = {"nll": nll, "before": {"nll": 2.0}, "accuracy": nll / 4}
        return {**record(1.0), "forgetting": {"other": both, "others": {**both, "nll": nll + 1}}}

    all_lines = lines((cell, of(cell)) for cell in read_grid(grid).cells())
    (table,) = forgetting_tables(all_lines)
    assert table.header[2:7] == (
        "other NLL",
        "other minus untrained",
        "other minus random-random",
        "other minus full",
        "other token accuracy",
    )
    rows = {row[1]: row for row in table.rows}
    assert rows["random-random"][2] == "2.500 ± 6.353"
    assert rows["random-random"][3:7] == ("0.500 ± 6.353", "", "-0.500 ± 0.000", "62.5 ± 158.8")
    assert rows["full"][4:6] == ("", ""), "it has no budget"
    assert rows["full"][-1] == "2"
    assert all_lines[0].values("forgetting") == {0: 1.0, 1: 2.0}, "the mean over other rows"


def test_marked_rows_among_the_kept_are_counted_by_seed(grid):
    content = yaml.safe_load(grid.read_text())
    content["data"]["sums"] |= {"shuffled": 0.5, "record": ["shuffled"]}
    content["grid"][0] |= {"seeds": [0, 1], "methods": ["zero-shot", "random", "once"]}
    grid.write_text(yaml.safe_dump(content))

    def of(cell):
        kept = [(True, True, 1 + cell.seed), (True, False, 3), (False, True, 4)]
        rows = [
            {"kept": kept, "shuffled": shuffled, "samples": n, "quadrant": 0}
            for kept, shuffled, n in kept
        ]
        return {**record(1.0), "quadrants": rows}

    def lines_with(more):
        cells = read_grid(grid).cells()
        return lines(
            (cell, {**of(cell), **more} if cell.method.train else {"cell": "", "tasks": []})
            for cell in cells
        )

    assert marked_tables(lines_with({})) == []
    (table,) = marked_tables(lines_with({"scored_before_tokens": 9}))
    assert table.title == "tiny, sums: shuffled among the kept"
    assert [row[1] for row in table.rows] == ["random", "once"]
    of_kept, of_marked = ((1 / 4 + 2 / 5) / 2, (1 / 5 + 2 / 6) / 2)
    assert table.rows[0][2].startswith(f"{100 * of_kept:.1f} ± ")
    assert table.rows[0][3].startswith(f"{100 * of_marked:.1f} ± ")
    assert table.rows[0][4] == "2"


# Bad input

SUMS = GRID["data"]["sums"]
RANDOM = {"sample_pruner": "random"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"data": {"sums": {**SUMS, "forgetting": "sums"}}},
            "forgetting: sums is the setting itself",
        ),
        ({"data": {"sums": {**SUMS, "forgetting": ["alpacca"]}}}, "alpacca is no other setting"),
        (
            {"data": {"sums": {**SUMS, "forgetting": "b"}, "b": {"train": "train.jsonl"}}},
            "b has no held_out rows",
        ),
        (
            {"data": {"sums": {**SUMS, "forgetting": ["a.jsonl", "x/a.jsonl"]}}},
            "a, a has a name twice",
        ),
        (
            {"data": {"sums": {**SUMS, "exact_match": {"question": 3}}}},
            "exact_match: unknown question",
        ),
        (
            {"data": {"sums": {**SUMS, "exact_match": {"questions": 0}}}},
            "questions must be an integer",
        ),
        ({"data": {"sums": {**SUMS, "exact_match": 3}}}, "exact_match cannot be 3"),
        (
            {"data": {"sums": {"train": "train.jsonl", "exact_match": {}}}},
            "exact_match asks held_out rows",
        ),
        ({"methods": {"a": {**RANDOM, "data_ratio": "twice"}}}, "data_ratio is same or a share"),
        ({"methods": {"a": {**RANDOM, "data_ratio": 0}}}, "data_ratio is same or a share"),
        (
            {"methods": {"a": {**RANDOM, "data_ratio": "same", "budgeted": False}}},
            "data_ratio needs a budget",
        ),
        (
            {"methods": {"a": {**RANDOM, "data_ratio": "same", "tokens_of": "b"}, "b": {}}},
            "data_ratio needs ratios of its own",
        ),
        (
            {"methods": {"a": {**RANDOM, "data_ratio": "same", "scored_before": True}}},
            "leave out scored_before",
        ),
        (
            {"methods": {"a": {"scored_before": True, "score_refresh": 0.5}}},
            "scored_before sets the scores; leave out score_refresh",
        ),
        ({"methods": {"a": {"compute_of": "b"}}}, "no method b"),
        ({"methods": {"a": {"compute_of": "a"}}}, "a would wait for itself"),
        ({"methods": {"a": {"compute_of": "b"}, "b": {"tokens_of": "a"}}}, "would wait for itself"),
        (
            {"methods": {"a": {"compute_of": "b", "tokens_of": "b"}, "b": {}}},
            "tokens_of and compute_of both",
        ),
        (
            {"methods": {"a": {**RANDOM, "data_ratio": 0.5}}, "training": {"max_steps": 3}},
            "max_steps fixes them",
        ),
        (
            {"methods": {"a": {**RANDOM, "data_ratio": 0.5}}, "training": {"packing": True}},
            "packing joins them",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(folder, changes, said):  # noqa: F811
    blocks = [{"budgets": [[0.5, 0.5]], "seeds": [0]}]
    with pytest.raises(UsageError, match=said) as error:
        grid_of(folder, **{"grid": blocks, **changes})
    assert str(error.value).startswith(str(folder / "grid.yaml"))
    assert "\n" not in str(error.value)


def test_questions_without_answers_are_told_before_a_model_is_loaded(grid, tmp_path, capsys):
    row = {"id": "odd-one", "prompt": "Who?", "completion": "Ada"}
    (grid.parent / "test.jsonl").write_text(json.dumps(row) + "\n")
    assert main(["compare", "--config", str(grid), "--output_dir", str(tmp_path / "o")]) == 2
    told = capsys.readouterr().err
    assert "row odd-one has no number as its answer" in told
    assert told.count("\n") == 1


def test_a_damaged_record_of_the_untrained_model_is_named(grid):
    runner = Runner(read_grid(grid), grid.parent / "out", 1, print)
    cell = read_grid(grid).cells()[0]
    for one in runner._needed.untrained(cell).values():
        one.file.parent.mkdir(exist_ok=True)
        one.file.write_text('{"nll": "low"}')
    with pytest.raises(UsageError, match=r"is damaged .* remove it, and it is computed again"):
        runner._job(cell)


def test_other_rows_come_back_from_json():
    rows = OtherRows("a", ("b.jsonl", "c.jsonl"), 3, 1, "")
    assert OtherRows.of(json.loads(json.dumps(vars(rows)))) == rows
