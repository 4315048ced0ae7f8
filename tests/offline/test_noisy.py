"""`qtuning score --noisy_copies`: selective IFD over noisy copies, in scores and decisions."""

import json
import re

import pyarrow.parquet as pq
import pytest
from datasets import load_dataset

import qtuning
from qtuning import PruningArguments, UsageError
from qtuning.commands.main import main
from qtuning.offline.job import ScoreJob, noise_of
from qtuning.offline.part_scorer import PartScorer
from qtuning.offline.prune import decide_offline
from qtuning.offline.shards import Shards

from .. import tiny
from .conftest import run_score

pytestmark = pytest.mark.usefixtures("one_thread")
COLUMNS = ("s_ifd_mean", "s_ifd_deviation")


@pytest.fixture(scope="module")
def noisy(model, rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("noisy") / "scores.parquet"
    assert run_score(model, rows, path, "--alone", "--noisy_copies", "3") == 0
    return path


def test_the_columns_are_beside_those_of_alone_and_lie_near_the_value_without_noise(
    noisy, model, rows, tmp_path
):
    table = pq.read_table(noisy)
    assert run_score(model, rows, tmp_path / "s.parquet", "--alone") == 0
    assert table.drop_columns(list(COLUMNS)).equals(pq.read_table(tmp_path / "s.parquet"))
    for row in table.to_pylist():
        assert row["s_ifd_deviation"] > 0
        assert abs(row["s_ifd_mean"] - row["s_ifd"]) < max(0.3, 10 * row["s_ifd_deviation"])


def test_parts_scored_at_different_times_are_those_of_one_call(noisy, model, rows, tmp_path):
    data = load_dataset("json", data_files=str(rows), split="train")
    noise = noise_of(3, 5.0, 0, alone=True)
    job = ScoreJob(str(model), alone=True, noise=noise, rows_a_part=16)
    shards = Shards(tmp_path / "s.parquet", job.origin(data))
    for numbers in ({1}, {0, 1, 2}):
        PartScorer.of(job)(data, shards, job.columns(), numbers.__contains__, lambda n: None)
    shards.merge(3)
    assert pq.read_table(shards.output).equals(pq.read_table(noisy))


@pytest.mark.parametrize(
    "more",
    [["--noisy_copies", "2"], ["--noisy_copies", "3", "--noise_seed", "1"],
     ["--noisy_copies", "3", "--noise_alpha", "4"], []],
    ids=str,
)  # fmt: skip
def test_scores_of_other_copies_are_not_mixed(noisy, model, rows, capsys, more):
    assert run_score(model, rows, noisy, "--alone", *more) == 2
    assert "another origin (noisy_copies differ)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--noisy_copies", "3"], "--noisy_copies compares answers .*: add --alone"),
        (["--alone", "--noisy_copies", "-1"], "--noisy_copies must be at least 0, got -1"),
        (
            ["--alone", "--noisy_copies", "1", "--noise_alpha", "0"],
            "--noise_alpha must be a number",
        ),
        (["--alone", "--noisy_copies", "1", "--noise_alpha", "nan"], "--noise_alpha must be a"),
    ],
    ids=str,
)
def test_bad_options_are_refused_in_one_line(model, rows, tmp_path, capsys, more, told):
    assert run_score(model, rows, tmp_path / "s.parquet", *more) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert re.search(told, line)


def test_s_ifd_decides_by_the_value_and_by_mean_and_deviation(noisy):
    table = pq.read_table(noisy)
    plain, mean, deviation = (table[name].to_pylist() for name in ("s_ifd", *COLUMNS))
    args = PruningArguments(sample_pruner="s-ifd", sample_ratio=0.25, token_ratio=1.0)
    kept = decide_offline(table, args).kept.nonzero().squeeze(1).tolist()
    order = sorted(range(40), key=lambda i: (plain[i] > 1, abs(1 - plain[i])))
    assert set(kept) == set(order[:10])
    args = PruningArguments(
        sample_pruner="s-ifd", sample_ratio=0.25, token_ratio=1.0, s_ifd_noisy=True
    )
    kept = decide_offline(table, args).kept.nonzero().squeeze(1).tolist()
    first = sorted((i for i in range(40) if mean[i] <= 1), key=lambda i: -mean[i])[:20]
    assert len(first) > 10
    assert set(kept) == set(sorted(first, key=lambda i: deviation[i])[:10])


def test_a_row_without_answer_tokens_has_none(model, tmp_path):
    some = [*tiny.rows(4), {"prompt": "x" * 300, "completion": " 1", "id": "long"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    output = tmp_path / "s.parquet"
    more = ["--max_length", "100", "--alone", "--noisy_copies", "1"]
    assert run_score(model, path, output, *more) == 0
    table = pq.read_table(output)
    for name in ("s_ifd", *COLUMNS):
        assert table[name].to_pylist()[-1] is None
        assert None not in table[name].to_pylist()[:-1]


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ([], "s-ifd reads selective IFD: score with --alone"),
        (["--s_ifd_noisy", "true"], "over noisy copies: score with --alone --noisy_copies 30"),
    ],
    ids=str,
)
def test_what_is_missing_is_said_in_one_line(scores, tmp_path, capsys, flags, told):
    output = tmp_path / "kept.parquet"
    command = ["prune", str(scores), "--sample_pruner", "s-ifd", "--output", str(output), *flags]
    assert main(command) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert told in line


def test_tail_is_refused_offline_in_one_line(noisy):
    with pytest.raises(UsageError, match=r"tail needs more than scores \(base_mean\)"):
        qtuning.prune(str(noisy), sample_pruner="tail", token_ratio=1.0)


def test_the_function_scores_as_the_command_does(noisy, model, rows):
    scored = qtuning.score(
        str(rows), model, alone=True, noisy_copies=3, rows_per_part=16, bf16=False, progress=False
    )
    assert all(scored[name] == pq.read_table(noisy)[name].to_pylist() for name in COLUMNS)
