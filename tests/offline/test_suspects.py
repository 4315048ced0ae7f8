"""The rows whose answer most likely does not belong to its prompt."""

import json
import math
from io import StringIO

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset
from rich.console import Console

import qtuning
from qtuning import UsageError
from qtuning.commands.main import main
from qtuning.offline.suspects import gains, suspects
from qtuning.offline.suspects_table import show_suspects
from qtuning.run.ledger import FOLDER, Ledger, LedgerRow

from .. import device, tiny

ALONE = [9.0, 3.0, None, 8.0, math.nan, 5.0]
GIVEN = [4.0, 6.0, 2.0, 8.0, 1.0, math.inf]
GAINS = [5.0, -3.0, math.nan, 0.0, math.nan, math.nan]


def table(n: int = 6, **columns) -> pa.Table:
    """Scores of six rows; the gain of three is known."""
    scores = {
        "prompt": [f"p{i}" for i in range(n)],
        "completion": [f"c{i}" for i in range(n)],
        "step": ["the user's"] * n,
        "sample_id": [f"s{i}" for i in range(n)],
        "ppl": [2.0 + i for i in range(n)],
        "entropy": [1.0] * n,
        "nll_sum": GIVEN,
        "n_tokens": [2, 3, 1, 4, 1, 1],
        "nll_alone_sum": ALONE,
    }
    return pa.table({**scores, **columns})


@pytest.fixture
def scores(tmp_path):
    path = tmp_path / "scores.parquet"
    pq.write_table(table(), path)
    return path


def test_the_gain_is_what_the_prompt_tells_about_the_answer():
    assert str(gains(table()).tolist()) == str(GAINS)
    assert str(gains(table().drop_columns(["nll_alone_sum"])).tolist()) == str([math.nan] * 6)


def test_least_gain_comes_first(scores):
    found = qtuning.suspects(scores, 2)
    assert [(one.rank, one.sample_id, one.gain) for one in found.suspects] == [
        (1, "s1", -3.0),
        (2, "s3", 0.0),
    ]
    first = found.suspects[0]
    assert (first.gain_per_token, first.ppl, first.n_tokens) == (-1.0, 3.0, 3)
    assert (first.prompt, first.answer, first.visits, first.kept) == ("p1", "c1", 0, 0)
    assert (found.rows, found.without_gain, found.negative, found.median) == (6, 3, 1, 0.0)
    assert found.of == str(scores)
    assert len(suspects(scores).suspects) == 3, "all that have a gain"


def test_of_equal_gains_the_earlier_row_comes_first(tmp_path):
    data = Dataset(table(nll_alone_sum=GIVEN, nll_sum=GIVEN))
    assert [one.sample_id for one in suspects(data, 9).suspects] == ["s0", "s1", "s2", "s3", "s4"]


def test_exchanged_answers_are_found_by_a_model_that_knows_the_right_ones(tmp_path):
    """A model that has learnt to copy the letter of the prompt."""
    folder = tiny.save_model(tmp_path / "model")
    letters = "abcdefgh"
    rows = [{"prompt": f"{one * 4} =", "completion": one * 6, "id": one} for one in letters]
    data = Dataset.from_list(rows)
    trainer = qtuning.QTuningTrainer(
        tiny.llama(),
        qtuning.QTuningConfig(
            str(tmp_path / "out"),
            sample_ratio=1.0,
            token_ratio=1.0,
            learning_rate=3e-3,
            num_train_epochs=30,
            save_strategy="no",
            report_to="none",
            **device.arguments(),
            bf16=False,
            disable_tqdm=True,
        ),
        train_dataset=data,
        processing_class=tiny.tokenizer(),
    )
    trainer.train()
    trainer.model.save_pretrained(folder)
    wrong = {"c": "f", "f": "c"}
    data = data.map(lambda row: {"completion": wrong.get(row["id"], row["id"]) * 6})
    scored = qtuning.score(data, folder, alone=True, bf16=False, progress=False)
    found = qtuning.suspects(scored, 2)
    assert {one.sample_id for one in found.suspects} == {"c", "f"}
    assert found.suspects[1].gain < 0 < found.median


# For review


def test_a_line_has_the_row_as_it_was_and_an_object_about_it(scores, tmp_path):
    path = suspects(scores, 2).write(tmp_path / "suspects.jsonl")
    first, second = map(json.loads, path.read_text().splitlines())
    assert first == {
        "sample_id": "s1",
        "suspect": {"rank": 1, "gain": -3.0, "gain_per_token": -1.0, "ppl": 3.0, "n_tokens": 3},
        "prompt": "p1",
        "completion": "c1",
        "step": "the user's",
    }
    assert second["suspect"]["rank"] == 2
    with pytest.raises(UsageError, match="is there already"):
        suspects(scores).write(path)


def test_the_lines_can_be_scored_again(scores, tmp_path):
    path = suspects(scores, 2).write(tmp_path / "suspects.jsonl")
    folder = tiny.save_model(tmp_path / "model")
    again = qtuning.score(path, folder, alone=True, bf16=False, progress=False)
    assert again["sample_id"] == ["s1", "s3"]
    assert qtuning.suspects(again).rows == 2


def test_a_column_of_the_users_is_not_replaced(tmp_path):
    data = Dataset(table(suspect=["it was me"] * 6))
    with pytest.raises(UsageError, match="column suspect already"):
        suspects(data).write(tmp_path / "s.jsonl")
    assert not (tmp_path / "s.jsonl").exists()


def test_conversations_are_written_as_they_were(tmp_path):
    talks = [
        [{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": "a"}] * 2
        for i in range(6)
    ]
    data = Dataset(table(messages=talks).drop_columns(["prompt", "completion"]))
    found = suspects(data, 1)
    assert found.suspects[0].prompt == "user: q1\n\nassistant: a\n\nuser: q1"
    assert found.suspects[0].answer == "a"
    path = found.write(tmp_path / "s.jsonl")
    assert json.loads(path.read_text())["messages"] == talks[1]


def test_as_plain_data(scores):
    content = suspects(scores, 1).to_dict()
    json.dumps(content, allow_nan=False)
    (one,) = content["suspects"]
    assert one["sample_id"] == "s1"
    assert one["visits"] is one["kept"] is None
    assert "row" not in one


def test_on_the_screen(scores):
    console = Console(width=100, record=True, file=StringIO())
    show_suspects(console, suspects(scores), 2)
    text = console.export_text()
    lines = text.splitlines()
    assert lines[0].startswith("Least gain first: 2 of 3 rows")
    first, second = (line for line in lines if line.startswith("│"))
    assert first.replace("│", "").split() == ["s1", "-3.0", "-1.00", "3.0", "3", "p1", "c1"]
    assert second.replace("│", "").split()[0] == "s3"
    assert "3 rows have no gain" in text
    assert "below 0 in 1 rows" in text
    assert "kept" not in text


# Of runs and of pruned data


def test_of_a_run_it_is_told_how_often_they_were_kept(scores, tmp_path):
    run = tmp_path / "run"
    with Ledger.start(run / FOLDER) as ledger:
        for step, name, kept in ((1, "s1", True), (1, "s0", True), (2, "s1", False)):
            ledger.append([LedgerRow(0, step, name, 1.0, 1.0, 3, 0, kept, False, 3, True)])
    with pytest.raises(UsageError, match="ledger does not have the gain: score its data with"):
        suspects(run)
    found = suspects(run, rows=scores)
    assert [(one.sample_id, one.kept, one.visits) for one in found.suspects] == [
        ("s1", 1, 2),
        ("s0", 1, 1),
    ]
    assert found.rows == 2, "what the run did not see is not listed"
    other = Dataset(table(sample_id=[f"x{i}" for i in range(6)]))
    with pytest.raises(UsageError, match="has none of the samples"):
        suspects(run, rows=other)


def test_of_pruned_data(tmp_path):
    folder = tiny.save_model(tmp_path / "model")
    scored = qtuning.score(tiny.dataset(8), folder, alone=True, bf16=False, progress=False)
    decided = qtuning.prune(scored, sample_ratio=0.5, token_ratio=1.0, with_dropped=True)
    found = suspects(decided, 8)
    assert {(one.visits, one.kept) for one in found.suspects} == {(1, 0), (1, 1)}
    assert set(found.suspects[0].row) == {"prompt", "completion", "id"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"nll_alone_sum": [None] * 6}, "no row has a gain, for none has a prompt"),
        ({"nll_alone_sum": ["x"] * 6}, "not of its kind"),
    ],
)
def test_scores_that_do_not_do(changes, said):
    with pytest.raises(UsageError, match=said):
        suspects(Dataset(table(**changes)))


def test_without_the_column_it_is_said_how_to_get_it():
    data = Dataset(table().drop_columns(["nll_alone_sum"]))
    with pytest.raises(UsageError, match="no column nll_alone_sum: score again with --alone"):
        suspects(data)
    with pytest.raises(UsageError, match="must be at least 1"):
        suspects(Dataset(table()), 0)


def test_scores_of_the_command_do(tmp_path):
    tiny.save_model(tmp_path / "model")
    tiny.dataset(6).to_json(tmp_path / "rows.jsonl")
    words = ["score", "--model_name_or_path", str(tmp_path / "model"), "--alone"]
    words += ["--dataset_name", str(tmp_path / "rows.jsonl")]
    assert main([*words, "--output", str(tmp_path / "s.parquet")]) == 0
    assert len(suspects(tmp_path / "s.parquet", 4).suspects) == 4
