"""The name of a cell follows the content of every file that the cell reads."""

import json
from dataclasses import replace

import pytest

from qtuning.compare import hashes
from qtuning.compare.key import cell_key, determined_by
from qtuning.compare.other_rows import OtherRows

from .. import tiny
from .test_grid import GRID, folder, grid_of  # noqa: F401 - a fixture


def key(grid, method="q-tuning"):
    """The key of a method's first cell, as a new process would find it."""
    hashes.hash_of_file.cache_clear()
    cell = next(c for c in grid.cells() if c.method.name == method)
    return cell_key(determined_by(cell, grid))


def with_method(folder, **pruning):  # noqa: F811
    return grid_of(folder, methods={**GRID["methods"], "q-tuning": pruning})


@pytest.mark.parametrize(
    ("field", "file"),
    [
        ("initial_scores", "scores.parquet"),
        ("scorer_model_name_or_path", "other/model.safetensors"),
        ("reference_model_name_or_path", "other/model.safetensors"),
        ("reference_model_name_or_path", "other/tokenizer.json"),
        ("reference_model_name_or_path", "other/tokenizer.model"),
    ],
)
@pytest.mark.parametrize("in_training", [False, True])
def test_files_that_settings_name(folder, field, file, in_training):  # noqa: F811
    path = folder / file
    path.parent.mkdir(exist_ok=True)
    settings = {field: file.split("/")[0]}

    def key_with(content):
        path.write_bytes(content)
        if in_training:
            return key(grid_of(folder, training=settings))
        return key(with_method(folder, **settings))

    first = key_with(b"{}")
    assert key_with(b"[]") != first
    assert key_with(b"{}") == first


@pytest.mark.parametrize(
    "field", ["chat_template_path", "deepspeed", "fsdp_config", "accelerator_config"]
)
def test_configs_of_training(folder, field):  # noqa: F811
    path = folder / "file.jinja"

    def key_with(content):
        path.write_text(content)
        data = {"sums": {**GRID["data"]["sums"], "training": {field: "file.jinja"}}}
        return key(grid_of(folder, data=data))

    assert key_with("a") != key_with("b")


def test_settings_that_are_no_files_are_in_the_key_as_they_are(folder):  # noqa: F811
    training = {"accelerator_config": {"split_batches": False}, "fsdp_config": '{"a": 1}'}
    grid = grid_of(folder, training=training)
    assert determined_by(grid.cells()[0], grid)["data"]["training"] == training


@pytest.mark.parametrize("file", ["own/code.py", "own/code/__init__.py", "own/code/inner/more.py"])
def test_pruners_of_ones_own(folder, monkeypatch, file):  # noqa: F811
    monkeypatch.chdir(folder)  # a cell's interpreter looks there
    path = folder / file
    path.parent.mkdir(parents=True)
    if path.name == "more.py":
        (folder / "own/code/__init__.py").touch()
    grid = grid_of(folder)
    (cell, *_) = (c for c in grid.cells() if c.method.name == "q-tuning")

    def key_with(content):
        path.write_text(content)
        hashes.hash_of_file.cache_clear()
        pruning = {"sample_pruner": "own.code:longer_half"}
        return cell_key(
            determined_by(replace(cell, method=replace(cell.method, pruning=pruning)), grid)
        )

    first = key_with("raise SystemExit  # it is read, and not run")
    assert key_with("raise SystemExit  # a change") != first


@pytest.mark.parametrize(
    "spec", ["qtuning.pruners.ablations:Reversed", "no.such.module:f", ":f", "x\0:f", "math:sqrt"]
)
def test_pruners_without_a_file_of_the_users(folder, spec):  # noqa: F811
    """Our own have a version, and of what is not found there is only the name."""
    grid = grid_of(folder)
    cell = next(c for c in grid.cells() if c.method.name == "q-tuning")
    cell = replace(cell, method=replace(cell.method, pruning={"token_pruner": spec}))
    assert determined_by(cell, grid)["method"]["pruning"] == {"token_pruner": spec}


def test_the_chat_template_counts_where_tasks_use_it(folder):  # noqa: F811
    def keys_with(template):
        (folder / "model" / "chat_template.jinja").write_text(template)
        return [
            key(grid_of(folder, evaluation={"apply_chat_template": uses})) for uses in (0, True)
        ]

    (unused, used), (unused_too, used_too) = keys_with("a"), keys_with("b")
    assert unused == unused_too
    assert used != used_too


def test_a_tokenizer_without_its_fast_form(folder):  # noqa: F811
    (folder / "model" / "vocab.txt").write_text("a")
    fast = key(grid_of(folder))
    (folder / "model" / "vocab.txt").write_text("b")
    assert key(grid_of(folder)) == fast, "tokenizer.json is read"
    (folder / "model" / "tokenizer.json").unlink()
    slow = key(grid_of(folder))
    (folder / "model" / "vocab.txt").write_text("a")
    assert key(grid_of(folder)) != slow


def test_a_model_of_the_same_files_elsewhere_is_the_same(folder):  # noqa: F811
    tiny.save_model(folder / "copy")
    for file in (folder / "model").iterdir():
        (folder / "copy" / file.name).write_bytes(file.read_bytes())
    a, b = (grid_of(folder, models={"tiny": name}) for name in ("model", "copy"))
    assert key(a) == key(b)
    assert json.dumps(determined_by(a.cells()[0], a)).find(str(folder)) == -1


@pytest.mark.parametrize(
    ("part", "changes", "other_key"),
    [
        ("data", {"exact_match": {"questions": 3}}, True),
        ("data", {"exact_match": None}, False),
        ("data", {"forgetting": (OtherRows("a", ("a.jsonl",)),)}, True),
        ("data", {"forgetting": ()}, False),
        ("method", {"scored_before": True}, True),
        ("method", {"data_ratio": "same"}, True),
        ("method", {"data_ratio": None, "scored_before": False}, False),
        ("method", {"compute_of": "full"}, False),  # the ratios say what comes of it
    ],
)
def test_later_settings_count_where_they_are_used(folder, part, changes, other_key):  # noqa: F811
    grid = grid_of(folder)
    cell = next(c for c in grid.cells() if c.method.name == "q-tuning")
    changed = replace(cell, **{part: replace(vars(cell)[part], **changes)})
    keys = [cell_key(determined_by(one, grid)) for one in (cell, changed)]
    assert (keys[0] != keys[1]) == other_key


def test_a_cells_name_follows_the_content_of_other_rows(folder):  # noqa: F811
    others = folder / "others.jsonl"
    data = {"sums": {**GRID["data"]["sums"], "forgetting": "others.jsonl"}}
    keys = set()
    for text in ("one", "two"):
        others.write_text(text)
        keys.add(key(grid_of(folder, data=data)))
    assert len(keys) == 2
