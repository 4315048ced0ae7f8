"""`qtuning score --alone`: answers without their prompts, in scores, exports and decisions."""

import json
import math

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_dataset

import qtuning
from qtuning import PruningArguments, UsageError
from qtuning.commands.main import main
from qtuning.offline.job import ScoreJob
from qtuning.offline.origin import read_origin, with_origin
from qtuning.offline.part_scorer import PartScorer
from qtuning.offline.prune import decide_offline
from qtuning.offline.read import read_table
from qtuning.offline.schema import typed_scores
from qtuning.offline.shards import Shards

from .. import tiny
from .conftest import run_score

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def alone(model, rows, tmp_path_factory):
    """Scores with the column, in parts of 16."""
    path = tmp_path_factory.mktemp("alone") / "scores.parquet"
    assert run_score(model, rows, path, "--per_token", "--alone") == 0
    return path


def test_the_column_is_the_nll_of_the_answer_behind_the_last_token_of_its_prompt(alone, scores):
    tokenizer, model = tiny.tokenizer(), tiny.llama().eval()
    for row in pq.read_table(alone).to_pylist():
        ids = tokenizer(row["prompt"][-1] + row["completion"])["input_ids"] + [1]
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].double()
        nll = torch.nn.functional.cross_entropy(logits, torch.tensor(ids[1:]), reduction="none")
        assert row["n_tokens"] == len(ids) - 1
        assert row["nll_alone_sum"] == pytest.approx(float(nll.sum()), rel=1e-4)
        d = torch.tensor(row["token_nll"], dtype=torch.float64) - nll
        most = sorted(range(len(d)), key=lambda t: -abs(d[t]))[: max(1, len(d) // 2)]
        assert row["s_ifd"] == pytest.approx(math.exp(sum(d[most]) / len(most)), rel=1e-4)
    table = pq.read_table(alone).drop_columns(["nll_alone_sum", "s_ifd"])
    assert table.to_pylist() == pq.read_table(scores).to_pylist()


def test_a_stream_has_it_too(model, rows, alone, tmp_path):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output, "--per_token", "--alone", "--dataset_streaming") == 0
    assert pq.read_table(output).to_pylist() == pq.read_table(alone).to_pylist()


def test_what_a_kill_leaves_is_gone_on_with(model, rows, alone, tmp_path):
    data = load_dataset("json", data_files=str(rows), split="train")
    job = ScoreJob(str(model), per_token=True, alone=True, rows_a_part=16)
    shards = Shards(tmp_path / "s.parquet", job.origin(data))
    for numbers in ({1}, {0, 1, 2}):
        done = []
        PartScorer.of(job)(data, shards, job.columns(), numbers.__contains__, done.append)
    assert done == [16, 8], "the second part was there"
    shards.merge(3)
    assert pq.read_table(shards.output).equals(pq.read_table(alone))


@pytest.mark.parametrize(("first", "second"), [([], ["--alone"]), (["--alone"], [])])
def test_parts_with_and_without_it_are_not_mixed(model, rows, tmp_path, capsys, first, second):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output, *first) == 0
    assert run_score(model, rows, output, *second) == 2
    assert "another origin (nll_alone_sum, s_ifd differ)" in capsys.readouterr().err


def test_a_file_of_a_version_that_did_not_know_it_is_gone_on_with(model, rows, tmp_path):
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output) == 0
    table = pq.read_table(output)
    origin = read_origin(table.schema, output)
    assert origin.pop("nll_alone_sum") is origin.pop("s_ifd") is False
    assert origin.pop("noisy_copies") is None
    pq.write_table(table.cast(with_origin(table.schema, origin)), output)
    assert run_score(model, rows, output) == 0
    assert run_score(model, rows, output, "--alone") == 2


def test_a_users_column_is_not_replaced(model, tmp_path, capsys):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**tiny.rows(1)[0], "nll_alone_sum": 3}) + "\n")
    assert run_score(model, path, tmp_path / "s.parquet", "--alone") == 2
    assert "has a column nll_alone_sum already" in capsys.readouterr().err


def test_tokenised_rows_of_several_turns(model):
    """Ids alone are known: the answers stand behind the tokens before them."""
    ids, labels = [5, 6, 30, 31, 3, 4, 40, 41], [-100, -100, 30, 31, -100, -100, 40, 41]
    data = Dataset.from_list([{"input_ids": ids, "labels": labels}])
    (row,) = qtuning.score(data, model, alone=True, bf16=False, progress=False).to_list()
    kept = [6, 30, 31, 4, 40, 41]
    net = tiny.llama().eval()
    with torch.no_grad():
        logits = net(torch.tensor([kept])).logits[0].double().log_softmax(-1)
    nll = -sum(float(logits[i - 1, kept[i]]) for i in (1, 2, 4, 5))
    assert row["nll_alone_sum"] == pytest.approx(nll, rel=1e-4)


def test_rows_without_a_prompt_have_none_and_that_is_said(model, caplog):
    data = Dataset.from_list([{"text": f"number {i}"} for i in range(3)])
    scored = qtuning.score(data, model, alone=True, bf16=False, progress=False)
    assert scored["nll_alone_sum"] == [None] * 3
    assert "3 rows have no prompt" in caplog.text
    assert "--assistant_only_loss" in caplog.text


def test_a_row_without_answer_tokens_has_none(model, tmp_path):
    some = [*tiny.rows(3), {"prompt": "x" * 300, "completion": " 1", "id": "long"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    output = tmp_path / "s.parquet"
    assert run_score(model, path, output, "--max_length", "100", "--alone") == 0
    values = pq.read_table(output)["nll_alone_sum"].to_pylist()
    assert values[-1] is None
    assert None not in values[:-1]


# Decisions and exports


def test_ifd_decides_by_the_ratio(alone):
    table = pq.read_table(alone)
    args = PruningArguments(sample_pruner="ifd", sample_ratio=0.25, token_ratio=1.0)
    kept = decide_offline(table, args).kept
    ratio = torch.tensor(table["nll_sum"].to_pylist()) / torch.tensor(
        table["nll_alone_sum"].to_pylist()
    )
    rank = torch.where(ratio > 1, -ratio, ratio)
    assert int(kept.sum()) == 10
    assert rank[kept].min() >= rank[~kept].max()


def test_ifd_says_what_is_missing(scores, tmp_path, capsys):
    output = tmp_path / "kept.parquet"
    assert main(["prune", str(scores), "--sample_pruner", "ifd", "--output", str(output)]) == 2
    assert "ifd reads the NLL of answers without their prompts: score with --alone" in (
        capsys.readouterr().err
    )


class OwnPruner:
    """Keeps what the prompt tells something about."""

    needs = frozenset({"scores", "without_prompt"})

    def __call__(self, pool, args):
        alone, after_prompt = pool.extras["without_prompt"].unbind(1)
        return alone > after_prompt


def test_a_pruner_of_ones_own_reads_it_and_a_token_pruner_does_not(alone):
    table = pq.read_table(alone)
    kept = qtuning.prune(str(alone), sample_pruner=OwnPruner(), token_ratio=1.0)["sample_id"]
    assert kept == [
        row["sample_id"] for row in table.to_pylist() if row["nll_alone_sum"] > row["nll_sum"]
    ]
    with pytest.raises(UsageError, match=r"token_pruner .* needs more than scores"):
        qtuning.prune(str(alone), sample_pruner="random", token_pruner=OwnPruner())


@pytest.mark.parametrize("to", ["parquet", "jsonl", "datasets"])
def test_formats_that_have_columns_keep_it(alone, tmp_path, to):
    output = tmp_path / (f"out.{to}" if to != "datasets" else "out")
    kept = qtuning.prune(
        str(alone), sample_pruner="random", token_ratio=1.0, output=output, format=to
    )
    assert read_table(output)["nll_alone_sum"].to_pylist() == kept["nll_alone_sum"]


def test_the_format_of_a_trainer_has_the_rows_alone(alone, tmp_path):
    qtuning.prune(
        str(alone), sample_pruner="random", token_ratio=1.0, output=tmp_path / "o", format="trl"
    )
    (row, *_) = map(json.loads, (tmp_path / "o" / "rows.jsonl").read_text().splitlines())
    assert set(row) == {"prompt", "completion", "id"}


def test_a_column_that_is_not_of_its_kind_is_refused(alone):
    table = pq.read_table(alone)
    place = table.column_names.index("nll_alone_sum")
    bad = table.set_column(place, "nll_alone_sum", pa.array(["x"] * 40))
    with pytest.raises(UsageError, match="column nll_alone_sum is not of its kind"):
        typed_scores(bad, "it")
    with pytest.raises(UsageError, match="no column nll_sum"):
        typed_scores(table.drop_columns(["nll_sum"]), "it")
