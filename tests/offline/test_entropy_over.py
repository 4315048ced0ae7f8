"""`qtuning score --entropy_over all`: the column, who reads it, and what its lack costs."""

import json

import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_dataset

import qtuning
from qtuning import PruningArguments, UsageError, select_samples
from qtuning.commands.main import main
from qtuning.offline.job import ScoreJob
from qtuning.offline.origin import read_origin, with_origin
from qtuning.offline.part_scorer import PartScorer
from qtuning.offline.prune import decide_offline
from qtuning.offline.shards import Shards
from qtuning.reports.load import load

from .. import tiny
from .conftest import run_score

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = ("--entropy_over", "all")
# Little is kept, of the worst of all answers first.
POOL = {"token_budget": "pool", "token_ratio": 0.05, "protect_eos": False, "fill_tokens": "side"}


@pytest.fixture(scope="module")
def of_all(model, rows, tmp_path_factory):
    """Scores with the column, in parts of 16."""
    path = tmp_path_factory.mktemp("all") / "scores.parquet"
    assert run_score(model, rows, path, "--per_token", *ALL) == 0
    return path


def test_the_column_is_the_mean_over_all_positions_and_all_else_is_as_ever(of_all, scores):
    tokenizer, model = tiny.tokenizer(), tiny.llama().eval()
    for row in pq.read_table(of_all).to_pylist():
        ids = tokenizer(row["prompt"] + row["completion"])["input_ids"] + [1]
        with torch.no_grad():
            logp = model(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        assert row["entropy_all"] == pytest.approx(float(entropy.mean()), rel=1e-4)
        assert row["entropy"] == pytest.approx(
            float(entropy[-row["n_tokens"] - 1 : -1].mean()), rel=1e-4
        )
    table = pq.read_table(of_all)
    assert table.drop_columns(["entropy_all"]).to_pylist() == pq.read_table(scores).to_pylist()


def test_a_stream_has_it_and_what_a_kill_leaves_is_gone_on_with(model, rows, of_all, tmp_path):
    output = tmp_path / "stream.parquet"
    assert run_score(model, rows, output, "--per_token", *ALL, "--dataset_streaming") == 0
    assert pq.read_table(output).to_pylist() == pq.read_table(of_all).to_pylist()
    data = load_dataset("json", data_files=str(rows), split="train")
    job = ScoreJob(str(model), per_token=True, entropy_over="all", rows_a_part=16)
    shards = Shards(tmp_path / "s.parquet", job.origin(data))
    for numbers in ({1}, {0, 1, 2}):
        PartScorer.of(job)(data, shards, job.columns(), numbers.__contains__, lambda n: None)
    shards.merge(3)
    assert pq.read_table(shards.output).equals(pq.read_table(of_all))


def test_parts_with_and_without_it_are_not_mixed(model, rows, tmp_path, capsys):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output) == 0
    assert run_score(model, rows, output, *ALL) == 2
    assert "another origin (entropy_over differ)" in capsys.readouterr().err
    table = pq.read_table(output)  # of a version that did not know it
    origin = read_origin(table.schema, output)
    assert origin.pop("entropy_over") == "answer"
    pq.write_table(table.cast(with_origin(table.schema, origin)), output)
    assert run_score(model, rows, output) == 0


def test_a_users_column_is_not_replaced(model, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**tiny.rows(1)[0], "entropy_all": 3}) + "\n")
    assert run_score(model, path, tmp_path / "s.parquet", *ALL) == 2
    assert "has a column entropy_all already" in capsys.readouterr().err


def test_rows_without_answer_tokens_have_none(model):
    rows = [*tiny.rows(3), {"prompt": "x" * 40, "completion": "y", "id": "cut"}]
    scored = qtuning.score(
        Dataset.from_list(rows),
        model,
        entropy_over="all",
        max_length=30,
        bf16=False,
        progress=False,
    )
    assert scored["n_tokens"][3] == 0
    assert [value is None for value in scored["entropy_all"]] == [False] * 3 + [True]
    assert len(qtuning.prune(scored, entropy_over="all", token_ratio=1.0, sample_ratio=1.0)) == 3


def test_prune_decides_by_it(of_all):
    table = pq.read_table(of_all)
    found = decide_offline(table, PruningArguments(sample_ratio=0.25, entropy_over="all"))
    ppl, entropy = (torch.tensor(table[name].to_pylist()) for name in ("ppl", "entropy_all"))
    expected = select_samples(ppl.double(), entropy.double(), 0.25)
    assert torch.equal(found.kept, expected.kept)
    assert torch.equal(found.quadrant, expected.quadrant)
    other = decide_offline(table, PruningArguments(sample_ratio=0.25))
    assert not torch.equal(found.kept, other.kept)


@pytest.mark.parametrize("verb", ["prune", "report", "diff"])
def test_scores_without_it_are_refused_in_one_line(scores, tmp_path, capsys, verb):
    names = [str(scores)] * (2 if verb == "diff" else 1)
    output = [] if verb == "diff" else ["--output", str(tmp_path / "out")]
    assert main([verb, *names, *output, *ALL]) == 2
    said = capsys.readouterr().err.strip()
    assert "reads a column entropy_all, which is missing: score with --entropy_over all" in said
    assert "\n" not in said


def test_bad_values_and_names_that_are_taken_are_refused(model, of_all, tmp_path):
    with pytest.raises(UsageError, match="entropy_over must be one of answer, all"):
        qtuning.score(tiny.dataset(2), model, entropy_over="prompt")
    table = pq.read_table(of_all)
    pq.write_table(table.append_column("entropy_answer", table["ppl"]), tmp_path / "s.parquet")
    with pytest.raises(UsageError, match="have a column entropy_answer already"):
        qtuning.prune(tmp_path / "s.parquet", entropy_over="all", token_ratio=1.0)


def test_a_report_shows_the_entropy_that_decided(of_all, tmp_path):
    columns = pq.read_table(of_all).to_pydict()
    args = PruningArguments(entropy_over="all", token_budget="pool", token_rule="and")
    material = load(of_all, args)
    assert material.table["entropy"].to_pylist() == columns["entropy_all"]
    assert material.how.endswith(
        ", entropy over all positions, one token budget a pool, tokens by the AND rule"
    )
    decided = tmp_path / "decided.parquet"
    assert main(["prune", str(of_all), "--output", str(decided), "--with_dropped", *ALL]) == 0
    material = load(decided, PruningArguments())
    assert material.table["entropy"].to_pylist() == columns["entropy_all"]
    assert material.table["entropy_answer"].to_pylist() == columns["entropy"]
    assert load(of_all, PruningArguments()).how == "q-tuning at 25% x 50%"
    agreed = qtuning.diff(decided, of_all, entropy_over="all")
    assert agreed.jaccard == 1.0
    assert agreed.entropy_correlation == pytest.approx(1.0)


def test_emptied_rows_are_kept_counted_and_not_given_to_trainers(of_all, tmp_path, capsys):
    flags = [word for name, value in POOL.items() for word in (f"--{name}", str(value))]
    kept = qtuning.prune(of_all, sample_ratio=0.5, **POOL).to_list()
    emptied = [row["id"] for row in kept if row["token_kept"] and not any(row["token_kept"])]
    assert 0 < len(emptied) < len(kept) == 20
    n_kept = sum(
        row["n_tokens"] if row["token_kept"] is None else sum(row["token_kept"]) for row in kept
    )
    assert n_kept >= int(0.5 * 0.05 * sum(pq.read_table(of_all)["n_tokens"].to_pylist()))
    command = ["prune", str(of_all), "--sample_ratio", "0.5", *flags]
    assert main([*command, "--output", str(tmp_path / "trl"), "--format", "trl"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{len(emptied)} kept rows lost all their answer tokens" in said
    lines = (tmp_path / "trl" / "rows.jsonl").read_text().splitlines()
    assert {json.loads(line)["id"] for line in lines} == {r["id"] for r in kept} - set(emptied)
    labels = pq.read_table(tmp_path / "trl" / "train.parquet")["labels"].to_pylist()
    assert len(labels) == len(lines)
    assert all(any(label >= 0 for label in row[1:]) for row in labels)
