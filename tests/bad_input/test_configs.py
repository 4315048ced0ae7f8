"""YAML files: of commands, and of comparisons."""

import os
import re

import pytest
import yaml

from qtuning.compare.grid import read_grid
from qtuning.errors import UsageError


@pytest.fixture
def refuses_config(refuses_to_train, rows, tmp_path):
    def run(text: str | bytes) -> str:
        path = tmp_path / "config.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        said = refuses_to_train("--config", path, dataset_name=rows)
        return said

    return run


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n"
    for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)

TEXTS = {
    "twice": ("sample_ratio: 0.5\nsample_ratio: 0.25\n", "sample_ratio is there twice"),
    "twice inside": ("model_init_kwargs: {a: 1, a: 2}\n", "a is there twice"),
    "aliases": (BOMB, "stands for more than"),
    "of itself": ("sample_pruner: &a [*a]\n", "stands for more than"),
    "no mapping": ("- sample_ratio\n", "must be a mapping"),
    "nothing": ("", "must be a mapping"),
    "not UTF-8": (b"sample_pruner: \xff\n", "cannot be read"),
    "NUL": ("sample_pruner: a\0b\n", "cannot be read"),
    "cut off": ("sample_ratio: [0.5", "cannot be read"),
    "deep": ("sample_ratio: " + "[" * 50_000, "cannot be read"),
    "python": ("sample_ratio: !!python/object/apply:os.system ['exit 1']\n", "cannot be read"),
    "key of a number": ("1: 2\n", "key 1 is not text"),
    "key of a list": ("? [a]\n: 2\n", "cannot be read"),
    "unknown": ("sample_ration: 0.5\n", "did you mean sample_ratio"),
    "object for a list": ("lora_target_modules: {q_proj: 1}\n", "must be a list of values"),
    "list for a number": ("sample_ratio: [0.5]\n", "must be a single value"),
    "text for a number": ("seed: much\n", "seed: .*invalid int value"),
    "half an integer": ("seed: 1.5\n", "seed: .*invalid int value"),
    "number for a truth": ("one_pass: 5\n", "one_pass: .*[Tt]ruth"),
    "no such choice": ("token_mode: none\n", "token_mode: invalid choice"),
    "no value": ("sample_ratio:\n", "sample_ratio has no value"),
    "env": ("env: {LD_PRELOAD: /tmp/x.so}\n", "env would run code"),
    "remote code": ("trust_remote_code: true\n", "trust_remote_code would run code"),
    "remote code inside": ("model_init_kwargs: {trust_remote_code: 1}\n", "trust_remote_code wou"),
    "own pruner": ("sample_pruner: os:system\n", "sample_pruner would run code"),
    "own weighter": ("token_weight: os:system\n", "token_weight would run code"),
    "kernel": ("attn_implementation: somebody/kernel\n", "attn_implementation would run code"),
    "kernels": ("model_init_kwargs: {use_kernels: true}\n", "use_kernels would run code"),
    "pickle": ("model_init_kwargs: {use_safetensors: false, weights_only: no}\n", "safetensors"),
    "huge": ("# " + "x" * 2**20, "is it a config"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_configs(refuses_config, name) -> None:
    text, said = TEXTS[name]
    assert re.search(said, refuses_config(text))
    assert "LD_PRELOAD" not in os.environ


def test_config_files_that_are_none(refuses_to_train, tmp_path) -> None:
    for path in (tmp_path, tmp_path / "none", "x" * 5000, "a\0b"):
        assert "--config" in refuses_to_train("--config", path)
    assert "needs a YAML file" in refuses_to_train("--config")


GRID = {
    "models": {"m": "none"},
    "data": {"d": {"train": "rows.jsonl"}},
    "methods": {"full": {"sample_pruner": "full"}},
    "grid": [{"budgets": [[0.5, 0.5]], "seeds": [0]}],
}


def grid(tmp_path, **changes):
    path = tmp_path / "grid.yaml"
    path.write_text(yaml.safe_dump({**GRID, **changes}))
    return path


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"models": ["m"]}, "models: must be a mapping"),
        ({"models": {"m": "a\0b"}}, "no name has a null byte"),
        ({"data": {"d": 5}}, "data: d: must be a mapping"),
        ({"data": {"d": {"train": "r", "train_rows": "x"}}}, "train_rows cannot be 'x'"),
        ({"data": {"d": {"train": "r", "shuffled": "much"}}}, "shuffled cannot be 'much'"),
        ({"data": {"d": {"train": "r", "lora": []}}}, "lora cannot be"),
        ({"data": {"d": {"train": "r", "tasks": [3]}}}, "tasks cannot be"),
        ({"data": {"d": {"train": "r", "lora": {"megatron_core": "os"}}}}, "megatron_core would"),
        ({"methods": {"a": {"sample_pruner": "os:system"}}}, "sample_pruner would run code"),
        ({"methods": {"a": ["full"]}}, "methods: a: must be a mapping"),
        ({"methods": {"a": {"train": "no"}}}, "train cannot be 'no'"),
        ({"training": {"model_init_kwargs": {"trust_remote_code": True}}}, "trust_remote_code"),
        ({"training": 3}, "training: must be a mapping"),
        ({"grid": {"seeds": [1]}}, "must be a list of blocks"),
        ({"grid": [3]}, "grid: must be a mapping"),
        ({"grid": [{"budgets": [["a", 1]], "seeds": [0]}]}, "a budget is"),
        ({"grid": [{"budgets": [[0.5, 0.5]], "seeds": ["x"]}]}, "seeds are integers"),
        ({"grid": [{"budgets": [[0.5, 1]], "seeds": [0], "data": [{}]}]}, "no {} under data"),
        ({"means": {"all": [["d"]]}}, "name data of this grid"),
        ({"evaluation": []}, "evaluation: must be a mapping"),
    ],
)
def test_grids(refuses, tmp_path, changes, said) -> None:
    path = grid(tmp_path, **changes)
    assert said in refuses("compare", "--config", path, "--output_dir", tmp_path / "out")


def test_a_grid_may_name_code_only_if_the_command_line_says_so(tmp_path) -> None:
    path = grid(tmp_path, methods={"own": {"sample_pruner": "my.module:pruner"}})
    with pytest.raises(UsageError, match="--own_code"):
        read_grid(path)
    assert read_grid(path, own_code=True).methods["own"].pruning
    ours = grid(
        tmp_path, methods={"own": {"sample_pruner": "qtuning.pruners.random:RandomSamples"}}
    )
    assert read_grid(ours).methods["own"].pruning
