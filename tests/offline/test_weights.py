"""Users' weights in scores, pruned rows and the files for other trainers."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from datasets import Dataset, load_from_disk

import qtuning
from qtuning import QTuningConfig, QTuningTrainer, UsageError
from qtuning.examples.token_weights import has_weights
from qtuning.offline.schema import MEAN_WEIGHT, TOKEN_WEIGHTS, typed_scores

from .. import device, talks, tiny, weighed
from ..talks import answer, user

pytestmark = pytest.mark.usefixtures("one_thread")
ALL = {"sample_pruner": "full", "sample_ratio": 1.0, "token_ratio": 1.0}
ROWS = [
    {"messages": weighed.TURNS, "id": "half"},
    {"messages": [user("a"), {**answer("b"), "weight": 2.0}, user("c"), answer("d")], "id": "both"},
    {"messages": [user("a"), {**answer("b"), "train": False}], "id": "out"},
    {"messages": [user("a"), answer("b")], "id": "plain"},
]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return talks.save_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def scored(model, tmp_path):
    """A function that scores rows by their assistant's turns, and gives the table."""

    def run(rows=ROWS, **options):
        data = talks.write(tmp_path / "rows.jsonl", rows)
        options = {"assistant_only_loss": True, "per_token": True, **options}
        return qtuning.score(data, model, bf16=False, progress=False, **options)

    return run


def exported(scores, tmp_path, to, **options):
    folder = tmp_path / to
    qtuning.prune(scores, output=folder, format=to, **{**ALL, **options})
    return folder


def test_scores_have_the_weights_of_answer_tokens(scored) -> None:
    table = scored().with_format("arrow")[:].to_pydict()
    assert table["n_tokens"] == [5, 4, 0, 2]
    assert table[TOKEN_WEIGHTS] == [[0.5] * 5, [2.0, 2.0, 1.0, 1.0], [], [1.0, 1.0]]
    assert table[MEAN_WEIGHT] == [0.5, 1.5, None, 1.0]
    assert table["ppl"][2] is None


def test_weight_0_is_in_no_statistic_and_others_change_none(scored) -> None:
    cut = scored().with_format("arrow")[:].to_pydict()
    halved = [{**row, "loss_weight": 0.5} for row in ROWS]
    again = scored(halved).with_format("arrow")[:].to_pydict()
    for name in ("ppl", "entropy", "nll_sum", "n_tokens", "token_nll", "turn_ends"):
        assert again[name] == cut[name]
    bare = [[{k: m[k] for k in ("role", "content")} for m in row["messages"]] for row in ROWS]
    whole = scored([{"messages": turns} for turns in bare]).with_format("arrow")[:].to_pydict()
    assert whole["n_tokens"] == [11, 4, 2, 2]
    assert torch.allclose(
        torch.tensor(whole["token_nll"][0][-5:]), torch.tensor(cut["token_nll"][0])
    )


def test_data_without_weights_have_no_such_columns(scored) -> None:
    rows = [{"messages": [user("a"), answer("b")]}] * 2
    assert not {MEAN_WEIGHT, TOKEN_WEIGHTS} & set(scored(rows).column_names)
    assert TOKEN_WEIGHTS not in scored(per_token=False).column_names


def test_has_weights_asks_every_kind_of_column() -> None:
    talk = [user("a"), {**answer("b"), "weight": 0.5}]
    calling = [user("a"), {**talks.call("f", a=1), "loss": False}, talks.result("x")]
    for rows in (
        [{"text": "a", "loss_weight": 1.0}],
        [{"messages": talk}],
        [{"messages": json.dumps(talk)}],
        [{"messages": calling}],
        [{"prompt": talk[:1], "completion": talk[1:]}],
    ):
        assert has_weights(Dataset.from_list(rows))
        assert has_weights(Dataset.from_list(rows).to_iterable_dataset())
    for rows in ([{"text": "[a"}], [{"messages": [user("a")]}], [{"input_ids": [1]}]):
        assert not has_weights(Dataset.from_list(rows))
        assert not has_weights(Dataset.from_list(rows).to_iterable_dataset())


@pytest.mark.parametrize("to", ["jsonl", "parquet", "datasets"])
def test_rows_that_are_kept_say_their_weights_again(scored, tmp_path, to, model) -> None:
    path = exported(scored([{**row, "loss_weight": 3.0} for row in ROWS]), tmp_path, to)
    if to == "datasets":
        kept = load_from_disk(str(path))
    elif to == "parquet":
        kept = Dataset(pq.read_table(path).replace_schema_metadata())
    else:
        kept = Dataset.from_list([json.loads(line) for line in path.read_text().splitlines()])
    names = ["id", "messages", "loss_weight"]
    again = qtuning.score(
        kept.select_columns(names), model, bf16=False, progress=False, assistant_only_loss=True
    )
    assert list(again["id"]) == ["half", "both", "plain"]
    assert list(again[MEAN_WEIGHT]) == [1.5, 4.5, 3.0]


@pytest.mark.parametrize("mode", ["mask", "drop"])
def test_tokens_for_trl_have_weights_and_train_with_them(scored, tmp_path, mode) -> None:
    options = {"token_pruner": "random", "token_ratio": 0.5, "token_mode": mode}
    folder = exported(scored(), tmp_path, "trl", **options)
    rows = Dataset.from_parquet(str(folder / "train.parquet"))
    assert rows.column_names == ["input_ids", "labels", "loss_weight"]
    for row, expected in zip(rows, ({0.5}, {1.0, 2.0}, {1.0}), strict=True):
        lengths = {len(row[name]) for name in rows.column_names}
        assert len(lengths) == 1
        pairs = zip(row["labels"], row["loss_weight"], strict=True)
        assert {weight for label, weight in pairs if label >= 0} <= expected
    args = QTuningConfig(str(tmp_path / "o"), bf16=False, report_to="none", **device.arguments())
    found = QTuningTrainer(
        tiny.llama(), args, train_dataset=rows, processing_class=tiny.tokenizer()
    )
    assert [row["loss_weight"] for row in found.train_dataset] == list(rows["loss_weight"])


def test_rows_without_weights_are_exported_to_trl_as_before(scored, tmp_path) -> None:
    folder = exported(scored([{"messages": [user("a"), answer("b")]}] * 2), tmp_path, "trl")
    assert pq.read_schema(folder / "train.parquet").names == ["input_ids", "labels"]


def test_axolotl_gets_labels_and_a_warning_about_what_they_cannot_say(
    scored, tmp_path, caplog
) -> None:
    folder = exported(scored(), tmp_path, "axolotl")
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    assert [sum(label >= 0 for label in row["labels"]) for row in rows] == [5, 4, 2]
    assert "loss_weight" not in rows[0]
    said = [record.getMessage() for record in caplog.records if "Axolotl" in record.getMessage()]
    assert said == [
        "2 of 3 kept rows have weights other than 0 and 1, which Axolotl does not read from "
        "tokens: there they weigh 1; the format trl keeps them"
    ]


def test_llamafactory_gets_rows_that_it_would_train_alike(scored, tmp_path, caplog) -> None:
    folder = exported(scored(), tmp_path, "llamafactory")
    rows = [json.loads(line) for line in (folder / "data.jsonl").read_text().splitlines()]
    assert [row["id"] for row in rows] == ["both", "plain"]
    assert "kept row 1: message 2 has weight 0" in caplog.text
    assert caplog.text.count("weights other than 0 and 1") == 1
    tokens = load_from_disk(str(folder / "tokenized"))["train"]
    assert tokens.column_names == ["input_ids", "attention_mask", "labels"]
    assert [sum(label >= 0 for label in row["labels"]) for row in tokens] == [5, 4, 2]


def test_files_of_weights_are_checked() -> None:
    columns = {"sample_id": ["a"], "ppl": [2.0], "entropy": [1.0], "n_tokens": [2]}
    good = pa.table({**columns, MEAN_WEIGHT: [0.5], TOKEN_WEIGHTS: [[0.5, 0.5]]})
    assert typed_scores(good, "x").num_rows == 1
    with pytest.raises(UsageError, match=f"{TOKEN_WEIGHTS} has another length than n_tokens"):
        typed_scores(pa.table({**columns, TOKEN_WEIGHTS: [[0.5]]}), "x")


def test_evaluation_leaves_out_what_weighs_nothing_and_weighs_nothing_else(model) -> None:
    rows = [{"prompt": "a", "completion": " b"}, {"prompt": "c", "completion": " d e"}]
    plain = qtuning.evaluate(model, Dataset.from_list(rows[:1]), bf16=False).held_out
    weighed_rows = [{**row, "loss_weight": w} for row, w in zip(rows, (0.5, 0.0), strict=True)]
    found = qtuning.evaluate(model, Dataset.from_list(weighed_rows), bf16=False).held_out
    assert (found.rows, found.tokens, found.nll) == (1, plain.tokens, plain.nll)
