"""The ledger loses nothing, holds nothing twice, and can be read at any time."""

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qtuning.errors import UsageError
from qtuning.run import ledger as module
from qtuning.run.ledger import SCHEMA, Ledger, LedgerRow, read_ledger


def row(step: int, name: str = "a", ppl: float | None = 2.0) -> LedgerRow:
    return LedgerRow(step // 10, step, name, ppl, 0.5, 7, 2, True, False, 3, True)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def ids(folder: Path) -> list[str]:
    return read_ledger(folder)["sample_id"].to_pylist()


def write(folder: Path, steps: dict[int, list[str]], rows_per_chunk: int = 3) -> None:
    with Ledger.start(folder, rows_per_chunk=rows_per_chunk) as ledger:
        for step, samples in steps.items():
            ledger.append([row(step, name) for name in samples])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_rows_come_back_as_they_were(tmp_path: Path, folder: Path) -> None:
    rows = [
        LedgerRow(0, 1, "plain", 3.5, 0.25, 12, 2, True, False, 5, True),
        LedgerRow(0, 1, "not scored", None, None, 12, 0, True, True, 12, False),
        LedgerRow(1, 2, "bad – é", math.nan, math.inf, 0, 4, False, False, 0, True),
    ]
    with Ledger.start(folder) as ledger:
        ledger.append(rows)
    table = read_ledger(tmp_path)
    assert table.schema == SCHEMA
    assert table.equals(read_ledger(folder)) or math.isnan(table["ppl"][2].as_py())
    back = [LedgerRow(**values) for values in table.to_pylist()]
    assert back[:2] == rows[:2]
    assert math.isnan(back[2].ppl)
    assert table["ppl"].null_count == 1
    assert back[2]._replace(ppl=0.0) == rows[2]._replace(ppl=0.0)


def test_schema_and_row_have_the_same_fields() -> None:
    assert tuple(SCHEMA.names) == LedgerRow._fields
    assert [str(field.type) for field in SCHEMA] == (
        "int64 int64 string double double int64 int8 bool bool int64 bool".split()  # noqa: SIM905
    )
    assert [field.name for field in SCHEMA if field.nullable] == ["ppl", "entropy"]


def test_a_chunk_is_written_when_enough_rows_have_gathered(folder: Path) -> None:
    ledger = Ledger.start(folder, rows_per_chunk=3)
    ledger.append([row(1)] * 2)
    assert names(folder) == []
    assert read_ledger(folder).num_rows == 0
    ledger.append([row(2)] * 2)
    assert names(folder) == ["part-000000.parquet"]
    ledger.append([row(3)] * 3)
    ledger.append([row(3)])
    assert [pq.read_metadata(folder / name).num_rows for name in names(folder)] == [4, 3]
    ledger.flush()
    ledger.flush()
    assert read_ledger(folder)["step"].to_pylist() == [1, 1, 2, 2, 3, 3, 3, 3]
    assert len(names(folder)) == 3


def test_a_chunk_is_written_when_enough_time_has_passed(folder: Path) -> None:
    now = 100.0
    ledger = Ledger.start(folder, clock=lambda: now)
    ledger.append([row(1)])
    now = 129.9
    ledger.append([row(2)])
    assert names(folder) == []
    now = 130.0
    ledger.append([row(3)])
    assert read_ledger(folder).num_rows == 3
    now = 159.0
    ledger.append([row(4)])
    assert len(names(folder)) == 1
    now = 161.0
    ledger.append([])
    assert len(names(folder)) == 2
    now = 999.0
    ledger.append([])
    assert len(names(folder)) == 2


def test_others_can_read_it_during_the_run(tmp_path: Path, folder: Path) -> None:
    ledger = Ledger.start(folder, rows_per_chunk=1)
    ledger.append([row(1, "x")])
    ledger.append([row(2, "y", None)])
    (folder / ".part-000002.parquet.tmp").write_bytes(b"PAR1 half a chunk")
    assert ids(tmp_path) == ids(folder) == ["x", "y"]
    assert pd.read_parquet(folder)["sample_id"].tolist() == ["x", "y"]
    assert ds.dataset(folder).to_table()["sample_id"].to_pylist() == ["x", "y"]
    assert ds.dataset(folder).schema == SCHEMA


def test_a_name_stands_for_a_whole_chunk_or_for_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(table: pa.Table, file: object, **options: object) -> None:
        file.write(b"PAR1 half")
        raise OSError(28, "No space left on device")

    ledger = Ledger.start(folder, rows_per_chunk=2)
    ledger.append([row(1, "x")])
    with monkeypatch.context() as patch:
        patch.setattr(module.pq, "write_table", dies)
        with pytest.raises(
            UsageError, match=r"cannot write in .*ledger: .*No space left"
        ) as caught:
            ledger.append([row(2, "y")])
    assert "\n" not in str(caught.value)
    assert ids(folder) == []
    ledger.close()  # once there is room again, nothing is missing
    assert ids(folder) == ["x", "y"]
    assert names(folder) == ["part-000000.parquet"]


def test_a_killed_process_leaves_whole_chunks(folder: Path) -> None:
    script = f"""
import os
from pathlib import Path
from qtuning.run.ledger import Ledger, LedgerRow
folder = Path({str(folder)!r})
ledger = Ledger.start(folder, rows_per_chunk=4)
for step in range(1, 12):
    names = [f"{{step}}-{{i}}" for i in "ab"]
    rows = [LedgerRow(0, step, name, 1.0, 1.0, 1, 1, True, False, 1, True) for name in names]
    ledger.append(rows)
(folder / ".part-000005.parquet.tmp").write_bytes(b"PAR1")
os._exit(9)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 9
    assert ids(folder) == [f"{step}-{i}" for step in range(1, 11) for i in "ab"]
    with Ledger.resume(folder, 7) as ledger:
        assert names(folder) == [f"part-00000{n}.parquet" for n in range(4)]
        ledger.append([row(8, "again")])
    assert ids(folder) == [f"{step}-{i}" for step in range(1, 8) for i in "ab"] + ["again"]
    assert not list(folder.glob(".*"))


RUNS = st.lists(st.integers(0, 4), min_size=1, max_size=9)


@settings(deadline=None, max_examples=150)
@given(RUNS, st.integers(1, 6), st.integers(1, 6), st.data())
def test_a_resumed_ledger_equals_an_uninterrupted_one(
    counts: list[int], size: int, size_after: int, data: st.DataObject
) -> None:
    run = {s: [row(s, f"{s}-{i}") for i in range(n)] for s, n in enumerate(counts, start=1)}
    crash = data.draw(st.integers(0, len(run)), "crash after step")
    saved = data.draw(st.integers(0, crash), "resumed from step")
    lost_in_append = data.draw(st.booleans(), "crash before the step's rows are complete")
    with TemporaryDirectory() as name:
        folder = Path(name) / "ledger"
        ledger = Ledger.start(folder, rows_per_chunk=size)
        for step in range(1, crash + 1):
            half = len(run[step]) // 2  # a step's rows may come in several calls
            ledger.append(run[step][:half])
            if not (lost_in_append and step == crash > saved):
                ledger.append(run[step][half:])
            if step == saved:
                ledger.flush()
        del ledger  # a crash: what is in the buffer is lost
        with Ledger.resume(folder, saved, rows_per_chunk=size_after) as ledger:
            assert read_ledger(folder)["step"].to_pylist() == [
                r.step for s in range(1, saved + 1) for r in run[s]
            ]
            for step in range(saved + 1, len(run) + 1):
                ledger.append(run[step])
        assert read_ledger(folder).to_pylist() == [r._asdict() for s in run for r in run[s]]
        numbers = [int(path.stem[5:]) for path in sorted(folder.iterdir())]
        assert numbers == list(range(len(numbers)))


class _Killed(BaseException):
    """Stands for the death of the process."""


@pytest.mark.parametrize("last_step", range(7))
@pytest.mark.parametrize("rows_per_chunk", [2, 3, 5])
def test_a_resume_that_dies_anywhere_can_be_repeated(
    tmp_path: Path, rows_per_chunk: int, last_step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = {step: [f"{step}{i}" for i in "abc"] for step in range(1, 7)}
    wanted = [name for step in range(1, last_step + 1) for name in run[step]]

    def killed_at(moment: int) -> bool:
        folder = tmp_path / f"{moment}" / "ledger"
        write(folder, run, rows_per_chunk)
        moments = iter(range(1000))

        def dying(real: Callable[..., object], before: bool) -> Callable[..., object]:
            def act(*args: object, **kwargs: object) -> object:
                if before and next(moments) == moment:
                    raise _Killed
                result = real(*args, **kwargs)
                if next(moments) == moment:
                    raise _Killed
                return result

            return act

        with monkeypatch.context() as patch:
            patch.setattr(Path, "unlink", dying(Path.unlink, True))
            patch.setattr(Path, "replace", dying(Path.replace, True))
            patch.setattr(module.pq, "write_table", dying(pq.write_table, True))
            patch.setattr(module.os, "fsync", dying(module.os.fsync, False))
            try:
                Ledger.resume(folder, last_step)
                killed = False
            except _Killed:
                killed = True
        left = ids(folder)
        everything = [name for step in run for name in run[step]]
        assert left == everything[: len(left)]  # readable between the two, and a beginning
        with Ledger.resume(folder, last_step) as ledger:
            assert ids(folder) == wanted
            assert not list(folder.glob(".*"))
            ledger.append([row(last_step + 1, "next")])
        assert ids(folder) == [*wanted, "next"]
        return killed

    moments = 0
    while killed_at(moments):
        moments += 1
    assert moments >= 2


def test_resume_with_the_new_chunk_beside_the_old_one(folder: Path) -> None:
    write(folder, {1: ["a"], 2: ["b"], 3: ["c"], 4: ["d"]})
    old = pq.read_table(folder / "part-000000.parquet")
    pq.write_table(old.slice(0, 2), folder / ".part-000000.parquet.tmp")
    Ledger.resume(folder, 2).close()
    assert ids(folder) == ["a", "b"]
    assert names(folder) == ["part-000000.parquet"]


def test_resume_without_a_ledger_begins_one(folder: Path) -> None:
    with Ledger.resume(folder, 5) as ledger:
        ledger.append([row(6)])
    assert read_ledger(folder)["step"].to_pylist() == [6]


def test_a_new_run_moves_the_old_ledgers_aside(tmp_path: Path, folder: Path) -> None:
    for name in ("first", "second", "third"):
        write(folder, {1: [name]})
    assert names(tmp_path) == ["ledger", "ledger-1", "ledger-2"]
    assert ids(tmp_path) == ["third"]
    assert ids(tmp_path / "ledger-1") == ["first"]
    assert ids(tmp_path / "ledger-2") == ["second"]
    Ledger.start(folder)
    Ledger.start(folder)  # an empty ledger needs no keeping
    assert names(tmp_path) == ["ledger", "ledger-1", "ledger-2", "ledger-3"]


def test_chunks_are_in_order_beyond_six_digits(folder: Path) -> None:
    write(folder, {1: ["a"]})
    (folder / "part-000000.parquet").rename(folder / "part-999999.parquet")
    with Ledger.resume(folder, 1) as ledger:
        ledger.append([row(2, "b")])
    assert (folder / "part-1000000.parquet").exists()
    assert ids(folder) == ["a", "b"]
    Ledger.resume(folder, 1)
    assert ids(folder) == ["a"]


def test_a_folder_name_with_an_equals_sign_adds_no_column(tmp_path: Path) -> None:
    folder = tmp_path / "lr=1e-5" / "ledger"
    write(folder, {1: ["a", "b"], 2: ["c", "d"]})
    Ledger.resume(folder, 1).close()
    assert read_ledger(folder).schema == SCHEMA
    assert ids(folder) == ["a", "b"]


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for begin in (Ledger.start, lambda folder: Ledger.resume(folder, 1)):
        with pytest.raises(UsageError, match=r"cannot write in .*file"):
            begin(tmp_path / "file" / "ledger")
    with pytest.raises(UsageError, match="cannot write in"):
        Ledger.start(tmp_path / "file")


def test_a_read_only_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    write(folder, {1: ["a"]})
    monkeypatch.setattr(Path, "touch", refuse)  # the tests may run as root, whom no mode stops
    with pytest.raises(UsageError, match="Permission denied"):
        Ledger.resume(folder, 1)
    monkeypatch.setattr(Path, "rename", lambda path, aside: refuse(path))
    with pytest.raises(UsageError, match="Permission denied"):
        Ledger.start(folder)
    assert ids(folder) == ["a"]


def test_no_ledger_to_read(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "missing", tmp_path / "ledger"):
        with pytest.raises(UsageError, match="no ledger in"):
            read_ledger(folder)
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="no ledger in"):
        read_ledger(tmp_path / "file")


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1" * 50, None])
def test_a_damaged_chunk_is_named(folder: Path, content: bytes | None) -> None:
    write(folder, {1: ["a", "b", "c"], 2: ["d"]})
    chunk = folder / "part-000001.parquet"
    chunk.write_bytes(chunk.read_bytes()[:-20] if content is None else content)
    for use in (read_ledger, lambda folder: Ledger.resume(folder, 1)):
        with pytest.raises(UsageError, match=r"part-000001\.parquet") as caught:
            use(folder)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("table", [{"x": [1]}, {name: ["?"] for name in SCHEMA.names}])
def test_a_foreign_chunk_is_named(folder: Path, table: dict[str, list[object]]) -> None:
    write(folder, {1: ["a"]})
    pq.write_table(pa.table(table), folder / "part-000001.parquet")
    with pytest.raises(UsageError, match=r"part-000001\.parquet"):
        read_ledger(folder)


def test_rows_must_be_in_order(folder: Path) -> None:
    ledger = Ledger.resume(folder, 4)
    with pytest.raises(ValueError, match="not in order"):
        ledger.append([row(4)])
    ledger.append([row(5, "x"), row(6, "y")])
    for rows in ([row(5)], [row(7), row(6)]):
        with pytest.raises(ValueError, match="not in order"):
            ledger.append(rows)
    ledger.append([row(6, "z")])
    ledger.close()
    assert ids(folder) == ["x", "y", "z"]


@pytest.mark.parametrize("change", [{"sample_id": 3}, {"n_tokens": "7"}, {"quadrant": 300}])
def test_a_row_of_wrong_types_is_refused_at_once(folder: Path, change: dict[str, object]) -> None:
    with Ledger.start(folder) as ledger:
        with pytest.raises((TypeError, ValueError)):
            ledger.append([row(1, "bad")._replace(**change)])
        ledger.append([row(1, "good")])
    assert ids(folder) == ["good"]


@pytest.mark.parametrize("column", ["step", "sample_id", "kept"])
def test_only_the_scores_may_be_none(folder: Path, column: str) -> None:
    ledger = Ledger.start(folder)
    with pytest.raises((TypeError, ValueError)):
        ledger.append([row(1)._replace(**{column: None})])
    assert ids(folder) == []


def test_close_is_idempotent_and_final(folder: Path) -> None:
    ledger = Ledger.start(folder)
    ledger.append([row(1)])
    ledger.close()
    ledger.close()
    assert read_ledger(folder).num_rows == 1
    with pytest.raises(ValueError, match="closed"):
        ledger.append([row(2)])


def test_an_error_in_the_run_does_not_lose_rows(folder: Path) -> None:
    def fail() -> None:
        with Ledger.start(folder) as ledger:
            ledger.append([row(1)])
            raise RuntimeError("training failed")

    with pytest.raises(RuntimeError, match="training failed"):
        fail()
    assert read_ledger(folder).num_rows == 1
