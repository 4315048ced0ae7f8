"""Broken and hostile input: the command says what is wrong in one line, ends with 2, and stops."""

import json
from pathlib import Path

import pytest

from qtuning.commands import main as cli
from qtuning.io.tables import pa, pq
from qtuning.offline.origin import with_origin

from .. import device, tiny

TRAINING = ["--bf16", "false", "--report_to", "none", "--disable_tqdm", "true"]


@pytest.fixture(scope="package")
def model(tmp_path_factory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def rows(tmp_path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.rows(8)))
    return path


def score_table(n: int = 8) -> pa.Table:
    """Scores of ``tiny.rows``, made up."""
    rows = tiny.rows(n)
    lengths = [2 + i % 3 for i in range(n)]
    table = pa.table(
        {
            **{name: [row[name] for row in rows] for name in ("prompt", "completion")},
            "sample_id": [f"s{i}" for i in range(n)],
            "ppl": [1.5 + (7 * i) % n for i in range(n)],
            "entropy": [0.1 * ((3 * i) % n) for i in range(n)],
            "nll_sum": [1.0 * i for i in range(n)],
            "n_tokens": lengths,
            "turn_ends": pa.array([[k - 1] for k in lengths], pa.list_(pa.int32())),
            "token_nll": pa.array([[0.5] * k for k in lengths], pa.list_(pa.float32())),
            "token_entropy": pa.array([[0.1] * k for k in lengths], pa.list_(pa.float32())),
        }
    )
    origin = {"model_name": "none", "revision": None, "dtype": "float32", "max_length": 64}
    origin |= {"tokenizer": "", "chat_template": "", "text_field": "text"}
    origin |= {"assistant_only_loss": False}
    return table.cast(with_origin(table.schema, origin))


@pytest.fixture
def scores(tmp_path) -> Path:
    path = tmp_path / "scores.parquet"
    pq.write_table(score_table(), path)
    return path


@pytest.fixture
def refuses(capfd, tmp_path):
    """Runs a command, checks that it refuses as it should, and returns what it said."""

    def run(*arguments: object, leaves: bool = False) -> str:
        before = sorted(tmp_path.rglob("*"))
        capfd.readouterr()
        assert cli.main([str(word) for word in arguments]) == 2
        err = capfd.readouterr().err
        said = [line for line in err.splitlines() if line.startswith("qtuning: ")]
        assert len(said) == 1, err
        assert "Traceback" not in err
        assert len(said[0]) < 1000
        assert all(character.isprintable() for character in said[0])
        assert leaves or sorted(tmp_path.rglob("*")) == before
        return said[0]

    return run


@pytest.fixture
def refuses_to_train(refuses, model, tmp_path):
    """``qtuning train`` with defaults for what is not given."""

    def run(*arguments: object, **options: object) -> str:
        given = {"model_name_or_path": model, "output_dir": tmp_path / "out", **options}
        flags = [f"--{name}={value}" for name, value in given.items()]
        return refuses("train", *TRAINING, *device.flags(), *flags, *arguments, leaves=True)

    return run
