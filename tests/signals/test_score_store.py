"""Last known scores: what is learnt, what is forgotten, files of earlier scores and bad ones."""

import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qtuning.errors import UsageError
from qtuning.examples.candidate import CandidateRow as Row
from qtuning.run.initial_scores import check_initial_scores, read_initial_scores
from qtuning.run.ledger import Ledger, LedgerRow
from qtuning.signals import score_store
from qtuning.signals.score_store import Known, ScoreStore

from .. import sizes


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


def same_extras(known: Known | None, extras) -> bool:
    """Whether the names, the values and their types are the same."""
    assert known is not None
    assert [name for name, _ in known.extras] == [name for name, _ in extras]
    return all(
        a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)
        for (_, a), (_, b) in zip(known.extras, extras, strict=True)
    )


def test_what_else_a_pruner_reads_is_remembered_and_who_lacks_it_is_unknown(tmp_path):
    extras = (("el2n", np.float32([0.5])), ("logits", np.float32([1.0, 2.0])))
    store = ScoreStore(extras=frozenset({"el2n", "logits"}))
    store.learn([row("a", extras=extras), row("b", extras=extras[:1])], step=1)
    assert same_extras(store.of(row("a")), extras)
    assert store.of(row("b")) is None
    store.save(tmp_path / "s.parquet")
    again = ScoreStore(extras=frozenset({"el2n"}))
    again.load(tmp_path / "s.parquet")
    for name, its in (("a", extras), ("b", extras[:1])):
        assert again.of(row(name))[:4] == (2.0, 1.0, 5, 1)
        assert same_extras(again.of(row(name)), its)


def test_what_else_a_pruner_reads_takes_the_bytes_of_its_numbers(tmp_path):
    """Four for each of the 1,025 that uds reads of a sample; a tuple of floats takes 33,000."""
    n, draw = 64, np.random.default_rng(0)
    sketches = draw.standard_normal((n, 1025), np.float32) * 1e4
    store, again = ScoreStore(), ScoreStore()
    store.learn([row(f"s{i}", extras=(("logits", x.copy()),)) for i, x in enumerate(sketches)], 1)
    store.save(tmp_path / "s.parquet")
    again.load(tmp_path / "s.parquet")
    for one in (store, again):
        assert sizes.held(one) <= n * (4 * 1025 + 600) + 4000
        for i, sketch in enumerate(sketches):
            assert same_extras(one.of(row(f"s{i}")), (("logits", sketch),))


def test_what_is_exact_in_float64_alone_stays_so(tmp_path):
    extras = (("without_prompt", np.array([1 / 3, math.nan])), ("x", np.array([1e300, math.inf])))
    store, again = ScoreStore(), ScoreStore()
    store.learn([row("a", extras=extras)], 1)
    store.save(tmp_path / "s.parquet")
    again.load(tmp_path / "s.parquet")
    assert same_extras(again.of(row("a")), extras)


def test_a_store_is_written_some_rows_at_a_time(tmp_path, monkeypatch):
    monkeypatch.setattr(score_store, "_ROWS_AT_ONCE", 3)
    store, again = ScoreStore(), ScoreStore()
    rows = [row(f"s{i}", 1.0 + i, extras=(("el2n", np.float32([i])),)) for i in range(7)]
    store.learn(rows, 1)
    store.save(tmp_path / "s.parquet")
    assert pq.read_metadata(tmp_path / "s.parquet").num_row_groups == 3
    again.load(tmp_path / "s.parquet")
    assert len(again) == 7
    assert all(again.of(one)[0] == one.ppl for one in rows)
    assert all(same_extras(again.of(one), one.extras) for one in rows)


def test_the_file_of_an_earlier_version_is_read_and_one_with_nulls_as_well(tmp_path):
    kinds = [pa.string(), pa.float64(), pa.float64(), pa.int64(), pa.int64()]
    kinds.append(pa.map_(pa.string(), pa.list_(pa.float64())))
    columns = {
        "sample_id": ["a", "b", "c"],
        "ppl": [2.0, 3.0, 4.0],
        "entropy": [1.0] * 3,
        "n_tokens": [5] * 3,
        "step": [1] * 3,
        "extras": [[("el2n", (0.5,)), ("logits", (1.0, 2.0))], [("el2n", (0.25, None))], None],
    }
    schema = pa.schema(list(zip(columns, kinds, strict=True)))
    pq.write_table(pa.table(columns, schema=schema), tmp_path / "s.parquet")
    store = ScoreStore()
    store.load(tmp_path / "s.parquet")
    extras = (("el2n", np.float32([0.5])), ("logits", np.float32([1.0, 2.0])))
    assert same_extras(store.of(row("a")), extras)
    assert same_extras(store.of(row("b")), (("el2n", np.float32([0.25, math.nan])),))
    assert same_extras(store.of(row("c")), ())
    store.save(tmp_path / "again.parquet")
    assert pq.read_schema(tmp_path / "again.parquet").equals(schema), "earlier versions read it"


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
