"""The grid's YAML, the rows it draws, and the names of its cells."""

import json
from dataclasses import replace

import pytest
import yaml

from qtuning.compare.grid import Budget, read_grid
from qtuning.compare.key import cell_key, determined_by
from qtuning.compare.rows import held_out_rows, read_rows, training_rows
from qtuning.errors import UsageError

from .. import tiny

GRID = {
    "models": {"tiny": "model"},
    "data": {"sums": {"train": "train.jsonl", "held_out": ["test.jsonl"], "train_rows": 12}},
    "methods": {
        "zero-shot": {"train": False},
        "full": {"sample_pruner": "full", "token_pruner": "none", "budgeted": False},
        "random-random": {"sample_pruner": "random", "token_pruner": "random"},
        "q-tuning": None,
        "matched": {"sample_pruner": "random", "token_pruner": "random", "tokens_of": "q-tuning"},
    },
    "grid": [
        {"methods": ["zero-shot", "full"], "budgets": [[0.25, 0.5]], "seeds": [0, 1]},
        {
            "methods": ["random-random", "q-tuning", "matched"],
            "budgets": [[0.25, 0.5], [0.5, 0.5]],
            "seeds": [0, 1],
        },
        {"methods": "q-tuning", "budgets": [[0.5, 0.5]], "seeds": [1, 2]},
    ],
}


def write_rows(path, n, seed=0):
    rows = tiny.rows(n, seed)
    path.write_text(
        "".join(json.dumps({**row, "meta": {"odd": i % 2}}) + "\n" for i, row in enumerate(rows))
    )


@pytest.fixture
def folder(tmp_path):
    tiny.save_model(tmp_path / "model")
    write_rows(tmp_path / "train.jsonl", 24)
    write_rows(tmp_path / "test.jsonl", 6, seed=1)
    return tmp_path


def grid_of(folder, **changes):
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}))
    return read_grid(path)


def test_cells_are_the_product_of_each_block_and_each_is_there_once(folder):
    names = [cell.name for cell in grid_of(folder).cells()]
    assert len(names) == len(set(names)) == 1 + 2 + 3 * 2 * 2 + 1
    assert names.count("tiny, sums: zero-shot, seed 0") == 1
    assert "tiny, sums: full, seed 1" in names
    assert "tiny, sums: q-tuning, 50% x 50%, seed 2" in names
    assert "tiny, sums: matched, 25% x 50%, seed 1" in names
    seeds = [int(name.rsplit(" ", 1)[1]) for name in names]
    assert seeds == sorted(seeds), "half a study is a study of fewer seeds"


def test_references_have_a_budget_or_none(folder):
    read = grid_of(folder, references={"q-tuning": None, "full": [0.5, 1.0]}).references
    assert read == {"q-tuning": None, "full": Budget(0.5, 1.0)}


def test_paths_are_relative_to_the_file(folder):
    grid = grid_of(folder)
    assert grid.models == {"tiny": str(folder / "model")}
    assert grid.data["sums"].train == (str(folder / "train.jsonl"),)
    assert grid_of(folder, models={"hub": "no/such"}, grid=[{**GRID["grid"][0]}]).models == {
        "hub": "no/such"
    }


def test_paths_of_a_method_are_relative_to_the_file_too(folder):
    (folder / "scores.parquet").touch()
    pruning = {
        "initial_scores": "scores.parquet",
        "scorer_model_name_or_path": "model",
        "reference_model_name_or_path": None,
        "score_refresh": 0.5,
    }
    methods = {**GRID["methods"], "cheap": pruning}
    assert grid_of(folder, methods=methods).methods["cheap"].pruning == {
        **pruning,
        "initial_scores": str(folder / "scores.parquet"),
        "scorer_model_name_or_path": str(folder / "model"),
    }


def test_paths_of_training_are_relative_to_the_file_too(folder, monkeypatch):
    (folder / "template.jinja").touch()
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    training = {
        "chat_template_path": "template.jinja",
        "deepspeed": "zero.json",  # a file that is not there is missed at its place
        "fsdp_config": {"fsdp_version": 2},
        "reference_model_name_or_path": "model",
        "learning_rate": 0.1,
    }
    resolved = {
        **training,
        "chat_template_path": str(folder / "template.jinja"),
        "deepspeed": str(folder / "zero.json"),
        "reference_model_name_or_path": str(folder / "model"),
    }
    assert grid_of(folder, training=training).training == resolved
    data = {"sums": {**GRID["data"]["sums"], "training": training}}
    assert grid_of(folder, data=data).data["sums"].training == resolved


def test_a_name_in_the_working_directory_is_no_name_beside_the_file(folder, monkeypatch):
    (folder / "elsewhere" / "org" / "model").mkdir(parents=True)
    (folder / "elsewhere" / "rows.jsonl").touch()
    monkeypatch.chdir(folder / "elsewhere")
    data = {"sums": {"train": "rows.jsonl", "held_out": "rows.jsonl"}}
    grid = grid_of(folder, data=data, evaluation={"data_dir": "tasks"})
    assert grid.data["sums"].train == grid.data["sums"].held_out == (str(folder / "rows.jsonl"),)
    assert grid.evaluation == {"data_dir": str(folder / "tasks")}
    assert grid_of(folder, models={"tiny": "org/other"}).models == {"tiny": "org/other"}
    for changes in (
        {"models": {"tiny": "org/model"}},
        {"methods": {"a": {"scorer_model_name_or_path": "org/model"}}},
    ):
        with pytest.raises(
            UsageError, match=r"paths are relative to the grid's file: write /.*org"
        ):
            grid_of(folder, **{**changes, "grid": [{"budgets": [[1, 1]], "seeds": [0]}]})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"methods": {"a": {"sample_prunner": "full"}}}, "methods: a: unknown sample_prunner"),
        ({"data": {"sums": {"held_out": "x"}}}, "data: sums: train is missing"),
        ({"data": {"sums": {"train": "x", "trian": 1}}}, "data: sums: unknown trian"),
        ({"models": {}}, "models is missing or empty"),
        ({"grid": [{"methods": ["q"], "budgets": [[0.5, 0.5]], "seeds": [0]}]}, "no q under"),
        ({"grid": [{"budgets": [[0.5]], "seeds": [0]}]}, r"a budget is \[sample_ratio"),
        ({"grid": [{"budgets": [[0.5, 1.5]], "seeds": [0]}]}, r"a budget is \[sample_ratio"),
        ({"grid": [{"budgets": [[0.5, 0.5]]}]}, "seeds is missing"),
        ({"grid": [{"seed": [0]}]}, "unknown seed"),
        ({"methods": {"a": {"tokens_of": "b"}}}, "no method b"),
        ({"evaluation": {"limit": 3}}, "evaluation: unknown limit"),
        ({"modles": {}}, "unknown modles"),
        ({"means": {"all": ["sums", "sons"]}}, "means, all: name data of this grid"),
        ({"means": {"all": None}}, "means, all: name data of this grid"),
        ({"references": {"w-tuning": None}}, "references: no method w-tuning"),
        ({"references": {"full": [0.5]}}, r"references, full: a budget is \[sample_ratio"),
        ({"references": ["full"]}, "references: must be a mapping"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(folder, changes, said):
    with pytest.raises(UsageError, match=said):
        grid_of(folder, **changes)


@pytest.mark.parametrize("text", ["a: [", "- 1", "", "a: !!python/object:os.system x"])
def test_a_file_that_is_no_grid(tmp_path, text):
    path = tmp_path / "grid.yaml"
    path.write_text(text)
    with pytest.raises(UsageError, match="--config"):
        read_grid(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_grid(tmp_path / "none.yaml")


# Rows


def test_the_rows_are_the_same_for_every_cell_and_differ_by_row_seed(folder):
    data = grid_of(folder).data["sums"]
    rows = training_rows(data)
    assert len(rows) == 12
    assert rows == training_rows(data)
    assert [row["id"] for row in rows] != [
        row["id"] for row in training_rows(replace(data, row_seed=1))
    ]
    assert all(row["prompt"].endswith("=\n") for row in rows)
    assert not any(row["meta"]["shuffled"] for row in rows)
    assert len(held_out_rows(data)) == 6


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
def test_a_share_of_the_answers_changes_places(folder, share):
    data = replace(grid_of(folder).data["sums"], train_rows=None, shuffled=share)
    clean, noisy = training_rows(replace(data, shuffled=0.0)), training_rows(data)
    assert [row["prompt"] for row in clean] == [row["prompt"] for row in noisy]
    changed = [a["completion"] != b["completion"] for a, b in zip(clean, noisy, strict=True)]
    assert changed == [row["meta"]["shuffled"] for row in noisy]
    assert 0 < sum(changed) <= round(share * 24)
    assert sorted(r["completion"] for r in clean) == sorted(r["completion"] for r in noisy)
    assert sum(changed) > 0.7 * share * 24


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text('{"prompt": "a", "completion": "b"}\n{"prompt": "a"}\n')
    with pytest.raises(UsageError, match="line 2: not an object with prompt and completion"):
        read_rows([str(path)], "")
    with pytest.raises(UsageError, match="cannot be read"):
        read_rows([str(tmp_path / "none")], "")


# Names


def key(grid, cell):
    return cell_key(determined_by(cell, grid))


def test_a_cells_name_changes_with_what_determines_it_and_with_nothing_else(folder):
    grid = grid_of(folder, training={"learning_rate": 1e-3})
    cell = next(c for c in grid.cells() if c.method.name == "q-tuning")
    before = key(grid, cell)
    assert key(grid, replace(cell, seed=7)) != before
    assert key(grid, replace(cell, budget=Budget(0.125, 0.5))) != before
    assert key(grid, replace(cell, method=replace(cell.method, name="other"))) == before
    assert key(grid, replace(cell, data=replace(cell.data, record=("odd",)))) == before
    pruning = {"neighbor_lambda": 0.0}
    assert key(grid, replace(cell, method=replace(cell.method, pruning=pruning))) != before
    assert key(replace(grid, training={"learning_rate": 1e-4}), cell) != before
    assert key(replace(grid, evaluation={"num_fewshot": 2}), cell) != before


def test_a_cells_name_follows_the_content_of_files_and_not_their_place(folder, tmp_path):
    grid = grid_of(folder)
    cell = grid.cells()[0]
    moved = folder / "elsewhere.jsonl"
    moved.write_bytes((folder / "train.jsonl").read_bytes())
    same = replace(cell, data=replace(cell.data, train=(str(moved),)))
    assert key(grid, same) == key(grid, cell)
    changed = folder / "changed.jsonl"
    write_rows(changed, 24, seed=5)
    other = replace(cell, data=replace(cell.data, train=(str(changed),)))
    assert key(grid, other) != key(grid, cell)


@pytest.mark.parametrize(
    ("place", "named"),
    [
        ("scores.parquet", "scores.parquet"),
        ("run/ledger/part-000000.parquet", "run"),  # a run's output folder
        ("run/ledger/part-000000.parquet", "run/ledger"),
    ],
)
def test_a_cells_name_follows_the_content_of_earlier_scores(folder, place, named):
    grid = grid_of(folder)
    cell = next(c for c in grid.cells() if c.method.name == "q-tuning")

    def key_with(where, content):
        (folder / where / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / where / place).write_bytes(content)
        pruning = {"score_refresh": 0.5, "initial_scores": str(folder / where / named)}
        return key(grid, replace(cell, method=replace(cell.method, pruning=pruning)))

    first = key_with("a", b"some scores")
    assert key_with("b", b"some scores") == first
    assert key_with("c", b"other scores") != first


def test_a_model_that_was_not_trained_has_one_name_for_all_seeds(folder):
    grid = grid_of(folder)
    cell = next(c for c in grid.cells() if not c.method.train)
    assert key(grid, replace(cell, seed=5)) == key(grid, cell)
