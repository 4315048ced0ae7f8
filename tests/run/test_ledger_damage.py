"""What is damaged or gone of a ledger is seen by who resumes or reads it."""

from pathlib import Path

import pytest

from qtuning.errors import UsageError
from qtuning.run.ledger import Ledger, read_ledger

from .test_ledger import ids, names, row, write


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def resume(folder: Path, last_step: int, n_rows: int | None = None) -> list[str]:
    Ledger.resume(folder, last_step, n_rows=n_rows).close()
    return ids(folder)


THREE = {1: ["a", "b", "c"], 2: ["d", "e", "f"], 3: ["g", "h"]}


def damaged(folder: Path, number: int) -> None:
    chunk = folder / f"part-{number:06d}.parquet"
    chunk.write_bytes(chunk.read_bytes()[:-20])


def test_damage_before_the_checkpoint_is_seen_on_resume(folder: Path) -> None:
    write(folder, THREE)
    damaged(folder, 0)
    with pytest.raises(UsageError, match=r"part-000000.*cannot be read.*begin a new record"):
        resume(folder, 3)
    assert len(names(folder)) == 3  # nothing is touched


def test_damage_after_the_checkpoint_is_none(folder: Path) -> None:
    write(folder, THREE)
    damaged(folder, 2)
    assert resume(folder, 2, n_rows=6) == list("abcdef")
    write(folder, THREE)
    damaged(folder, 2)
    assert resume(folder, 1) == list("abc")  # the number is not known, but later rows came before
    write(folder, THREE)
    damaged(folder, 1)
    with pytest.raises(UsageError, match="part-000001"):
        resume(folder, 1)  # nobody knows whether rows of step 1 were in it


@pytest.mark.parametrize("gone", [0, 1])
def test_missing_rows_are_seen_on_resume(folder: Path, gone: int) -> None:
    write(folder, THREE)
    (folder / f"part-00000{gone}.parquet").unlink()
    with pytest.raises(UsageError, match="has 3 rows up to step 2, and had 6"):
        resume(folder, 2, n_rows=6)


def test_a_ledger_moved_away_begins_anew(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(folder, THREE)
    folder.rename(folder.with_name("aside"))
    with Ledger.resume(folder, 2, n_rows=6) as ledger:
        assert ledger.n_rows == 0
        ledger.append([row(3, "g")])
        assert ledger.n_rows == 1
    assert "begins anew after step 2" in caplog.text


def test_rows_are_counted_over_a_resume(folder: Path) -> None:
    write(folder, THREE, rows_per_chunk=4)
    with Ledger.resume(folder, 2, n_rows=6) as ledger:
        assert ledger.n_rows == 6
        ledger.append([row(3, "g"), row(3, "h")])
        assert ledger.n_rows == 8
    assert ids(folder) == list("abcdefgh")


def test_a_resumed_run_sees_every_flipped_bit(folder: Path) -> None:
    ledger = Ledger.start(folder, rows_per_chunk=3)
    ledger.append([row(1, name) for name in "abc"])
    ledger.append([row(2, name) for name in "de"])
    ledger.flush()
    mark = ledger.mark
    chunk = folder / "part-000000.parquet"
    content, rows = chunk.read_bytes(), read_ledger(folder)
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 8
        chunk.write_bytes(changed)
        with pytest.raises(
            UsageError,
            match=r"not as it was written",
        ):
            Ledger.resume(folder, 2, **mark)
    chunk.write_bytes(content)
    with Ledger.resume(folder, 2, **mark) as again:
        assert again.mark == mark
        again.append([row(3, "f")])
    assert Ledger.resume(folder, 2, **mark).mark == mark  # what came after does not matter
    assert read_ledger(folder).equals(rows)


def test_a_reader_sees_flipped_bits_in_pages(folder: Path) -> None:
    write(folder, {1: ["a", "b", "c"]})
    chunk = folder / "part-000000.parquet"
    content = chunk.read_bytes()
    place = content.index(b"a", 4)  # the values of sample_id
    chunk.write_bytes(content.replace(content[place : place + 1], b"x", 1))
    with pytest.raises(UsageError, match="cannot be read"):
        read_ledger(folder)
