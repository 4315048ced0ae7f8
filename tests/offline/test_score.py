"""`qtuning score`: what is written, that nothing is scored twice, and that nothing is mixed."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_dataset

from qtuning import read_ledger
from qtuning.errors import UsageError
from qtuning.offline.job import ScoreJob
from qtuning.offline.origin import METADATA, read_origin, with_origin
from qtuning.offline.part_scorer import PartScorer
from qtuning.offline.score import score
from qtuning.offline.shards import Shards

from .. import processes, runs, tiny
from . import peak_memory
from .conftest import run_score

pytestmark = pytest.mark.usefixtures("one_thread")


def test_rows_stay_as_they_were_and_get_their_scores(scores, rows):
    table = pq.read_table(scores)
    before = load_dataset("json", data_files=str(rows), split="train").data.table
    assert table.select(before.column_names).to_pylist() == before.to_pylist()
    assert table.column_names[len(before.column_names) :] == [
        *("sample_id", "ppl", "entropy", "nll_sum", "n_tokens", "turn_ends"),
        *("token_nll", "token_entropy"),
    ]
    for row in table.to_pylist():
        assert len(row["token_nll"]) == len(row["token_entropy"]) == row["n_tokens"]
        assert math.fsum(row["token_nll"]) == pytest.approx(row["nll_sum"], rel=1e-5)
        assert math.exp(row["nll_sum"] / row["n_tokens"]) == pytest.approx(row["ppl"], rel=1e-9)
        assert row["sample_id"] == row["id"]
        assert row["turn_ends"] == [row["n_tokens"] - 1], "TRL ends a completion"


def test_scores_are_those_of_a_training_run(scores, model, rows, tmp_path):
    """The first step of a run scores with the same, untouched model."""
    trainer = runs.pruning(
        tmp_path,
        model=tiny.llama(),
        data=load_dataset("json", data_files=str(rows), split="train"),
        per_device_train_batch_size=8,
        gradient_accumulation_steps=5,
        num_train_epochs=1,
    )
    trainer.train()
    offline = {row["sample_id"]: row for row in pq.read_table(scores).to_pylist()}
    ledger = read_ledger(tmp_path).to_pylist()
    assert len(ledger) == 40
    for row in ledger:
        known = offline[row["sample_id"]]
        assert row["ppl"] == pytest.approx(known["ppl"], rel=1e-4)
        assert row["entropy"] == pytest.approx(known["entropy"], rel=1e-4)
        assert row["n_tokens"] == known["n_tokens"]


def test_the_file_says_where_it_is_from(scores, model):
    origin = read_origin(pq.read_schema(scores), scores)
    assert origin["model_name"] == str(model)
    assert origin["max_length"] == 1024
    assert origin["versions"]["qtuning"]
    assert not scores.with_name(f"{scores.name}.parts").exists()


def test_token_statistics_are_written_only_when_asked_for(model, rows, tmp_path):
    assert run_score(model, rows, tmp_path / "s.parquet") == 0
    assert "token_nll" not in pq.read_schema(tmp_path / "s.parquet").names


def test_float16_is_half_the_size_and_near(model, rows, scores, tmp_path):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output, "--per_token", "--float16") == 0
    kind = pq.read_schema(output).field("token_nll").type.value_type
    assert str(kind) == "halffloat"
    exact, rounded = (pq.read_table(path)["token_nll"].to_pylist() for path in (scores, output))
    for one, other in zip(exact, rounded, strict=True):
        torch.testing.assert_close(
            torch.tensor(other).float(), torch.tensor(one), rtol=1e-3, atol=1e-6
        )


def test_bfloat16_is_near_and_on_record(model, rows, scores, tmp_path):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output, "--bf16", "true") == 0
    assert read_origin(pq.read_schema(output), output)["dtype"] == "bfloat16 autocast"
    exact, rounded = (
        torch.tensor(pq.read_table(p)["entropy"].to_pylist()) for p in (scores, output)
    )
    torch.testing.assert_close(rounded, exact, rtol=0.02, atol=0.02)
    assert not torch.equal(rounded, exact)


def test_a_row_without_answer_tokens_has_no_scores(model, tmp_path):
    some = [*tiny.rows(3), {"prompt": "x" * 300, "completion": " 1", "id": "long"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    output = tmp_path / "s.parquet"
    assert run_score(model, path, output, "--max_length", "100") == 0
    last = pq.read_table(output).to_pylist()[-1]
    assert (last["ppl"], last["entropy"], last["n_tokens"], last["nll_sum"]) == (None, None, 0, 0)
    assert last["turn_ends"] == []


def test_a_stream_gives_the_same_scores(model, rows, scores, tmp_path):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output, "--per_token", "--dataset_streaming") == 0
    stream, whole = pq.read_table(output), pq.read_table(scores)
    assert stream.to_pylist() == whole.to_pylist()


class Killed(Exception):
    """The machine went away."""


@pytest.mark.parametrize("after", [1, 2])
def test_finished_parts_are_kept_and_nothing_is_scored_twice(model, rows, scores, tmp_path, after):
    data = load_dataset("json", data_files=str(rows), split="train")
    job = ScoreJob(str(model), per_token=True, rows_a_part=16)
    done = []

    def told(n):
        done.append(n)
        if len(done) == after:
            raise Killed

    output = tmp_path / "s.parquet"
    with pytest.raises(Killed):
        score(data, output, job, told=told)
    assert not output.exists()
    parts = sorted((tmp_path / "s.parquet.parts").iterdir())
    assert len(parts) == after
    written = [path.stat().st_mtime_ns for path in parts]
    (tmp_path / "s.parquet.parts" / ".part-000002.parquet.1.tmp").write_text("half")

    again = []
    score(data, output, job, told=again.append)
    assert len(again) == 3 - after
    assert len(written) == after
    assert pq.read_table(output).equals(pq.read_table(scores))


@pytest.mark.slow
def test_killed_at_random_the_result_is_that_of_an_undisturbed_run(model, rows, scores, tmp_path):
    output = tmp_path / "s.parquet"
    command = [sys.executable, "-m", "qtuning", "score", "--model_name_or_path", str(model)]
    command += ["--dataset_name", str(rows), "--output", str(output), "--per_token"]
    command += ["--rows_per_part", "16", "--bf16", "false"]
    folder = tmp_path / "s.parquet.parts"
    killed = []
    for number in (0, 1, 1, 2, 2):  # parts that are there when it dies
        process = processes.Forked(command)
        while process.poll() is None:
            if folder.is_dir() and len(list(folder.glob("*.parquet"))) >= number:
                break
            time.sleep(0.002)
        process.kill()
        killed.append(process.wait() == -signal.SIGKILL)
    assert killed[0], "it had just begun"
    assert processes.Forked(command).wait() == 0
    assert pq.read_table(output).equals(pq.read_table(scores))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads /proc")
@pytest.mark.parametrize("more", [[], ["--dataset_streaming"]])
def test_memory_does_not_grow_with_the_data(model, tmp_path, more):
    """Ten times the rows, 150 MB more of data; held even once they would show."""
    peaks = []
    for n in (400, 4000):
        path = tmp_path / f"{n}.jsonl"
        with path.open("w") as file:
            for i, row in enumerate(tiny.rows(n)):
                file.write(json.dumps({**row, "note": f"{i} " * 10_000}) + "\n")
        command = ["score", "--model_name_or_path", str(model), "--dataset_name", str(path)]
        command += ["--output", str(path.with_suffix(".parquet")), "--rows_per_part", "100"]
        command += ["--bf16", "false"]  # oneDNN remembers a kernel for each shape of bfloat16
        # A process for each: what one leaves to the allocator is no merit of the next.
        said = subprocess.run(
            [sys.executable, peak_memory.__file__, *command, *more],
            env={**os.environ, "HF_HOME": str(tmp_path / "cache")},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert said.returncode == 0
        peaks.append(int(said.stdout.split()[-1]))
    data = (tmp_path / "4000.jsonl").stat().st_size - (tmp_path / "400.jsonl").stat().st_size
    assert data > 150_000_000
    assert peaks[1] - peaks[0] < 0.8 * data  # datasets 4.0 maps 0.7 of it into memory


def test_scores_of_another_origin_are_not_mixed(model, rows, tmp_path, capsys):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output) == 0
    before = output.read_bytes()
    assert run_score(model, rows, output) == 0, "it is done"
    assert run_score(model, rows, output, "--max_length", "50") == 2
    assert "another origin (max_length differ)" in capsys.readouterr().err
    other = tiny.save_model(tmp_path / "other", seed=4)
    assert run_score(other, rows, output) == 2
    assert "another origin (model differ)" in capsys.readouterr().err
    assert output.read_bytes() == before


def test_parts_of_a_version_that_knew_no_ends_of_turns_are_not_mixed(model, rows, tmp_path, capsys):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output) == 0
    table = pq.read_table(output).drop_columns(["turn_ends"])
    origin = read_origin(table.schema, output)
    assert origin.pop("turn_ends")
    folder = tmp_path / "s.parquet.parts"
    folder.mkdir()
    pq.write_table(
        table.slice(0, 16).cast(with_origin(table.schema, origin)), folder / "part-000000.parquet"
    )
    output.unlink()
    assert run_score(model, rows, output) == 2
    assert "another origin (turn_ends differ)" in capsys.readouterr().err


def test_a_file_that_is_not_ours_is_left_alone(model, rows, tmp_path, capsys):
    output = tmp_path / "s.parquet"
    Dataset.from_list([{"a": 1}]).to_parquet(output)
    assert METADATA not in (pq.read_schema(output).metadata or {})
    assert run_score(model, rows, output) == 2
    assert "not a file of `qtuning score`" in capsys.readouterr().err


def test_a_users_column_is_never_replaced(model, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**tiny.rows(1)[0], "ppl": 3}) + "\n")
    assert run_score(model, path, tmp_path / "s.parquet") == 2
    assert "has a column ppl already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--output", "x.csv"], "must end in .parquet"),
        (["--output", "no/such/x.parquet"], "no folder"),
        (["--batch_size", "0"], "--batch_size must be at least 1"),
        (["--engine", "spark"], "invalid choice"),
        (["--engine", "ray", "--dataset_streaming"], "drop --dataset_streaming"),
    ],
)
def test_bad_arguments(model, rows, tmp_path, capsys, more, said):
    assert run_score(model, rows, tmp_path / "s.parquet", *more) == 2
    assert said in capsys.readouterr().err


def test_shards_of_two_ranks_make_one_file(model, rows, scores, tmp_path):
    """Each takes every second part; whoever is last merges."""
    data = load_dataset("json", data_files=str(rows), split="train")
    job = ScoreJob(str(model), per_token=True, rows_a_part=16)
    shards = Shards(tmp_path / "s.parquet", job.origin(data))
    scorer = PartScorer.of(job)
    for rank in (1, 0):
        scorer(data, shards, job.columns(), lambda i, r=rank: i % 2 == r, lambda n: None)
    shards.merge(3)
    assert pq.read_table(tmp_path / "s.parquet").equals(pq.read_table(scores))


def test_a_part_that_another_process_finishes_meanwhile_mixes_nothing_up(
    model, rows, scores, tmp_path
):
    data = load_dataset("json", data_files=str(rows), split="train")
    job = ScoreJob(str(model), per_token=True, rows_a_part=16)
    shards = Shards(tmp_path / "s.parquet", job.origin(data))

    def other_process(_):
        if not shards.has(1):
            shards.write(1, pq.read_table(scores).slice(16, 16))

    PartScorer.of(job)(data, shards, job.columns(), lambda i: True, other_process)
    shards.merge(3)
    assert pq.read_table(tmp_path / "s.parquet").equals(pq.read_table(scores))


def test_a_damaged_part_is_named(model, rows, tmp_path):
    folder = tmp_path / "s.parquet.parts"
    folder.mkdir()
    (folder / "part-000000.parquet").write_text("half")
    data = load_dataset("json", data_files=str(rows), split="train")
    with pytest.raises(UsageError, match=r"part-000000\.parquet: cannot be read"):
        Shards(tmp_path / "s.parquet", ScoreJob(str(model)).origin(data))
