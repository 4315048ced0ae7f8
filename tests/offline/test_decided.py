"""Whatever holds decisions is read to the same columns."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qtuning import PruningArguments
from qtuning.commands.main import main
from qtuning.errors import UsageError
from qtuning.offline.decided import is_decided, one_visit, read_decided
from qtuning.offline.prune import decide_offline
from qtuning.run.ledger import Ledger, LedgerRow

pytestmark = pytest.mark.usefixtures("one_thread")
COLUMNS = ["sample_id", "ppl", "entropy", "n_tokens", "kept", "quadrant", "filled", "tokens_kept"]
ARGS = PruningArguments(sample_ratio=0.25, token_ratio=0.5)


def prune(scores, output, *more):
    command = ["prune", str(scores), "--output", str(output), "--sample_ratio", "0.25"]
    assert main([*command, "--with_dropped", *more]) == 0
    return output


def visit(epoch, step, name, kept):
    return LedgerRow(epoch, step, name, 2.0, 0.5, 7, 2, kept, False, 3 * kept, True)


@pytest.fixture
def run(tmp_path):
    """Two epochs, the second cut off: only `a` came again."""
    with Ledger.start(tmp_path / "run" / "ledger") as ledger:
        ledger.append([visit(0, 1, "a", True), visit(0, 1, "b", False)])
        ledger.append([visit(0, 2, "c", True), visit(1, 3, "a", False)])
    return tmp_path / "run"


@pytest.mark.parametrize("kind", ["parquet", "jsonl", "datasets"])
def test_all_forms_of_a_pruned_data_set_read_the_same(scores, tmp_path, kind):
    suffix = "" if kind == "datasets" else f".{kind}"
    written = prune(scores, tmp_path / f"o{suffix}", "--format", kind)
    by_rule = read_decided(scores, ARGS)
    found = read_decided(written)
    assert found.select(COLUMNS).to_pylist() == by_rule.select(COLUMNS).to_pylist()
    assert found["prompt"].to_pylist() == by_rule["prompt"].to_pylist()
    assert sum(found["kept"].to_pylist()) == 10


def test_tokens_kept_are_counted_as_they_were_decided(scores):
    decisions = decide_offline(pq.read_table(scores), ARGS, seed=42)
    found = read_decided(scores, ARGS).to_pylist()
    assert decisions.token_keeps
    for place, row in enumerate(found):
        keep = decisions.token_keeps.get(place)
        whole = row["n_tokens"] if row["kept"] else 0
        assert row["tokens_kept"] == (whole if keep is None else int(keep.sum()))


def test_scores_without_a_rule_stay_undecided(scores):
    table = read_decided(scores)
    assert not is_decided(table)
    assert table.num_rows == 40


def test_a_rule_does_not_touch_what_is_decided(scores, tmp_path):
    written = prune(scores, tmp_path / "o.parquet", "--token_ratio", "1.0")
    assert sum(read_decided(written, PruningArguments())["kept"].to_pylist()) == 10
    other = PruningArguments(sample_ratio=0.5)
    assert read_decided(written, other).equals(read_decided(written))


def test_without_scores_of_tokens_samples_are_decided_and_tokens_not_known(scores, tmp_path):
    bare = tmp_path / "s.parquet"
    pq.write_table(pq.read_table(scores).drop_columns(["token_nll", "token_entropy"]), bare)
    found = read_decided(bare, ARGS)
    assert found["kept"].equals(read_decided(scores, ARGS)["kept"])
    assert "tokens_kept" not in found.column_names


def test_a_run_has_a_row_a_visit(run):
    table = read_decided(run)
    assert table.equals(read_decided(run / "ledger"))
    assert table["epoch"].to_pylist() == [0, 0, 0, 1]
    assert table["tokens_kept"].to_pylist() == [3, 0, 3, 0]


def test_one_visit_is_the_last_or_that_of_an_epoch(run):
    table = read_decided(run)

    def kept(epoch=None):
        one = one_visit(table, epoch)
        return dict(zip(one["sample_id"].to_pylist(), one["kept"].to_pylist(), strict=True))

    assert kept() == {"a": False, "b": False, "c": True}
    assert kept(0) == {"a": True, "b": False, "c": True}
    assert kept(1) == {"a": False}
    with pytest.raises(UsageError, match="--epoch 2: run has epochs 0, 1"):
        one_visit(table, 2, "run")


def test_a_users_own_epoch_column_makes_no_visits():
    table = pa.table({"sample_id": ["a", "a"], "epoch": [0, 1]})
    assert one_visit(table) is table


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("none.parquet", None, "no such file or folder"),
        ("x.txt", "a", "not one of .jsonl, "),
        ("x.csv", "a", "no rows"),
        ("x.parquet", "text", "cannot be read as Parquet"),
        ("x.jsonl", '{"sample_id": "a"', "line 1"),
        ("x.jsonl", "[1]\n", "entry 1"),
        ("x.jsonl", '{"sample_id": "a"}\n', "no column ppl, entropy, n_tokens"),
        ("x.jsonl", "", "the file is empty"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(tmp_path, name, content, said):
    path = tmp_path / name
    if content is not None:
        path.write_text(content)
    with pytest.raises(UsageError, match=said) as told:
        read_decided(path)
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_columns_of_another_kind_are_named(tmp_path):
    path = tmp_path / "x.jsonl"
    row = {"sample_id": "a", "ppl": "high", "entropy": 1.0, "n_tokens": 3}
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UsageError, match="column ppl is not of its kind"):
        read_decided(path)


def test_what_trainers_read_holds_no_decisions(scores, tmp_path):
    command = ["prune", str(scores), "--output", str(tmp_path / "o"), "--format", "trl"]
    assert main(command) == 0
    with pytest.raises(UsageError, match="write them with `qtuning prune --with_dropped`"):
        read_decided(tmp_path / "o")


def test_a_saved_data_set_that_is_damaged_is_named(tmp_path):
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(UsageError, match=r"dataset_info\.json: cannot be read as JSON \(No such"):
        read_decided(tmp_path)
