"""The soak measures what it says; 2,000 steps of it are `make soak`."""

import mmap
import os

import pytest

from .__main__ import judge, soak
from .measure import Sample, line, take


def steady(n: int = 40, *, leak: int = 0, handles: int = 0, jump: int = 0) -> list[Sample]:
    return [
        Sample(
            step=20 * i,
            memory=500_000_000 + 20 * i * leak + (i % 2) * 4096,
            handles=12 + (handles if i == n - 1 else 0),
            threads=3,
            ledger=20 * i * 300 + (jump if i > n // 2 else 0),
        )
        for i in range(1, n)
    ]


def test_a_line_is_found_through_noise():
    found = line([1, 2, 3, 4, 5], [11.0, 21.0, 31.0, 41.0, 91.0])  # one step up
    assert found.slope == pytest.approx(10.0)
    assert found.start == pytest.approx(1.0)
    assert found.worst == pytest.approx(40.0 / 51.0)


def test_a_ledger_written_in_parts_is_judged_where_it_has_grown():
    *_, wrong = judge([Sample(i, 5_000_000, 12, 3, i // 10 * 1000) for i in range(1, 201)])
    assert wrong == []


def test_a_steady_run_is_good():
    memory, ledger, wrong = judge(steady())
    assert wrong == []
    assert abs(memory.slope) < 10
    assert ledger.slope == pytest.approx(300)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"leak": 2000}, "memory grows by 200"),
        ({"handles": 2}, "2 handles left over"),
        ({"jump": 80_000}, "the ledger's size is off a line"),
    ],
)
def test_what_leaks_is_told(bad, said):
    *_, wrong = judge(steady(**bad))
    assert len(wrong) == 1
    assert said in wrong[0]


def test_a_process_is_measured(tmp_path):
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / "a.parquet").write_bytes(b"12345")
    before = take(1, tmp_path)
    held = [os.open(tmp_path, os.O_RDONLY) for _ in range(3)]
    weight = mmap.mmap(-1, 64_000_000)  # the allocator might have as much at hand
    for place in range(0, len(weight), mmap.PAGESIZE):
        weight[place] = 1
    after = take(2, tmp_path)
    for one in held:
        os.close(one)
    assert after.handles - before.handles == 3
    assert after.memory - before.memory > len(weight) // 2
    assert before.ledger == 5


def test_a_short_run_keeps_no_handles(tmp_path):
    samples = soak(tmp_path, steps=24, every=2)
    assert [s.step for s in samples] == list(range(2, 25, 2))
    assert samples[-1].handles <= samples[2].handles
    sizes = [s.ledger for s in samples]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 0
