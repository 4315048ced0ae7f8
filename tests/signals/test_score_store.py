"""Last known scores: what is learnt, what is forgotten, files of earlier scores and bad ones."""

import math
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qtuning.errors import UsageError
from qtuning.examples.candidate import CandidateRow as Row
from qtuning.run.initial_scores import check_initial_scores, read_initial_scores
from qtuning.run.ledger import Ledger, LedgerRow
from qtuning.signals.score_store import Known, ScoreStore


def row(name: str, ppl: float = 2.0, entropy: float = 1.0, **changes) -> Row:
    return Row(0, name, ppl, entropy, 5, 9, False, True)._replace(**changes)


def test_the_last_scores_are_known():
    store = ScoreStore()
    store.learn([row("a", 3.0), row("b")], step=1)
    store.learn([row("a", 4.0, 0.5)], step=7)
    assert store.of(row("a")) == Known(4.0, 0.5, 5, 7)
    assert store.of(row("b")) == Known(2.0, 1.0, 5, 1)
    assert store.of(row("c")) is None
    assert len(store) == 2


def test_what_else_a_pruner_reads_is_remembered_and_who_lacks_it_is_unknown(tmp_path):
    extras = (("el2n", (0.5,)), ("logits", (1.0, 2.0)))
    store = ScoreStore(extras=frozenset({"el2n", "logits"}))
    store.learn([row("a", extras=extras), row("b", extras=extras[:1])], step=1)
    assert store.of(row("a")) == Known(2.0, 1.0, 5, 1, extras)
    assert store.of(row("b")) is None
    store.save(tmp_path / "s.parquet")
    again = ScoreStore(extras=frozenset({"el2n"}))
    again.load(tmp_path / "s.parquet")
    assert again.of(row("a")) == Known(2.0, 1.0, 5, 1, extras)
    assert again.of(row("b")) == Known(2.0, 1.0, 5, 1, extras[:1])


def test_scores_of_another_text_are_not_known():
    store = ScoreStore()
    store.learn([row("a")], step=1)
    assert store.of(row("a", n_tokens=6)) is None


def test_what_was_not_scored_teaches_nothing():
    store = ScoreStore()
    store.learn([row("a", 3.0, scored=False)], step=1)
    assert len(store) == 0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_loss_is_forgotten_so_that_the_sample_is_scored_again(bad):
    store = ScoreStore()
    store.learn([row("a")], step=1)
    store.learn([row("a", bad)], step=2)
    assert store.of(row("a")) is None


@pytest.mark.parametrize("n", [0, 1, 40])
def test_a_store_comes_back_from_its_file_to_the_last_bit(tmp_path, n):
    store, again = ScoreStore(), ScoreStore({"other": Known(1.0, 1.0, 1, 1)})
    store.learn([row(f"é {i}", 1.0 + 0.1 * i, 1 / (3 + i)) for i in range(n)], step=3)
    store.save(tmp_path / "scores.parquet")
    again.load(tmp_path / "scores.parquet")
    assert len(again) == n
    for i in range(n):
        assert again.of(row(f"é {i}")) == store.of(row(f"é {i}"))


def test_a_damaged_file_is_named(tmp_path):
    path = tmp_path / "scores.parquet"
    path.write_bytes(b"PAR1")
    with pytest.raises(UsageError, match=r"scores\.parquet"):
        ScoreStore().load(path)


# Scores from outside


def write(path: Path, **columns) -> Path:
    table = {
        "sample_id": ["a", "b", "c"],
        "ppl": [2.0, math.nan, None],
        "entropy": [1.0, 1.0, None],
        "n_tokens": [5, 5, 5],
        "text": ["x"] * 3,
        **columns,
    }
    pq.write_table(pa.table({k: v for k, v in table.items() if v is not None}), path)
    return path


def test_a_file_of_scores_is_read_without_what_is_not_finite(tmp_path):
    assert read_initial_scores(write(tmp_path / "s.parquet")) == {"a": Known(2.0, 1.0, 5, 0)}


def test_numbers_as_ids_become_text_as_in_a_run(tmp_path):
    path = write(tmp_path / "s.parquet", sample_id=[0, 1, 2])
    assert list(read_initial_scores(path)) == ["0"]


def test_of_a_ledger_the_last_scores_count(tmp_path):
    def decided(step: int, ppl: float | None, name: str = "a") -> LedgerRow:
        return LedgerRow(0, step, name, ppl, ppl, 5, 0, True, False, 5, True)

    with Ledger.start(tmp_path / "ledger") as ledger:
        ledger.append([decided(1, 3.0), decided(1, None, "b"), decided(2, 2.0)])
    assert read_initial_scores(tmp_path) == {"a": Known(2.0, 2.0, 5, 0)}
    assert read_initial_scores(tmp_path / "ledger") == {"a": Known(2.0, 2.0, 5, 0)}


def no_parquet(folder: Path) -> Path:
    (folder / "s.parquet").write_text("sample_id,ppl")
    return folder / "s.parquet"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda folder: folder / "absent", "no such file or folder"),
        (lambda folder: folder, "no ledger in the folder"),
        (no_parquet, "must be a Parquet file"),
        (lambda folder: write(folder / "s.parquet", ppl=None), "no column ppl; wanted are"),
        (lambda folder: write(folder / "s.parquet", n_tokens=None), "no column n_tokens"),
    ],
    ids=["absent", "a folder of something else", "not Parquet", "no ppl", "no n_tokens"],
)
def test_bad_initial_scores_are_refused_in_one_line(tmp_path, make, message):
    path = make(tmp_path)
    for read in (check_initial_scores, read_initial_scores):
        with pytest.raises(UsageError, match=message) as told:
            read(path)
        assert str(path) in str(told.value)
        assert "\n" not in str(told.value)
