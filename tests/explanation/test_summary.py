"""Samples never kept, always kept and flipping, by the quadrants that they went through."""

from collections import Counter
from itertools import chain

from hypothesis import given

from qtuning.explanation.history import History
from qtuning.explanation.sample import sample_of
from qtuning.explanation.summary import FATES, summary_of

from . import naive
from .made import ledgers, row, table


@given(ledgers())
def test_it_is_that_of_loops(rows) -> None:
    found = summary_of(History.of(table(*rows)))
    expected = naive.samples(rows)
    assert {one.pop("sample_id"): one for one in found.table.to_pylist()} == expected
    assert found.table["sample_id"].to_pylist() == list(expected)
    paths = {path.path: path for path in found.paths}
    assert len(paths) == len(found.paths), "each path once"
    for path, one in paths.items():
        fates = Counter(sample["fate"] for sample in expected.values() if sample["path"] == path)
        assert one.counts == tuple(fates[fate] for fate in FATES)
        assert one.example == next(name for name in expected if expected[name]["path"] == path)
    sizes = [path.samples for path in found.paths]
    assert sizes == sorted(sizes, reverse=True)


@given(ledgers())
def test_never_always_and_flipping_part_the_samples(rows) -> None:
    found = summary_of(History.of(table(*rows)))
    names = [found.names(fate).to_pylist() for fate in FATES]
    assert sorted(chain.from_iterable(names)) == sorted({one.sample_id for one in rows})
    assert [len(part) for part in names] == [found.count(fate) for fate in FATES]
    assert sum(path.samples for path in found.paths) == found.table.num_rows
    told = found.to_dict()
    assert sum(told[fate]["samples"] for fate in FATES) == told["samples"]
    assert told["visits"] == len(rows)
    kept = {one.sample_id for one in rows if one.kept}
    dropped = {one.sample_id for one in rows if not one.kept}
    assert set(names[0]) == dropped - kept
    assert set(names[1]) == kept - dropped
    assert set(names[2]) == kept & dropped


@given(ledgers())
def test_a_sample_by_itself_has_the_same_fate_and_path(rows) -> None:
    history = History.of(table(*rows))
    for one in summary_of(history).table.to_pylist():
        sample = sample_of(history, one["sample_id"], None, "")
        assert (sample.fate, sample.path) == (one["fate"], one["path"])
        assert len(sample.visits) == one["visits"]


def test_a_stay_counts_once_and_a_long_path_is_cut() -> None:
    rows = [row(step, "a", quadrant=2) for step in (1, 2, 3)] + [row(4, "a", quadrant=1)]
    assert summary_of(History.of(table(*rows))).paths[0].path == "Q2 > Q1"
    eight = "Q1 > Q2 > Q1 > Q2 > Q1 > Q2 > Q1 > Q2"
    for n, path in ((8, eight), (9, f"{eight} > ..."), (30, f"{eight} > ...")):
        rows = [row(step, "a", quadrant=1 + step % 2) for step in range(2, 2 + n)]
        assert summary_of(History.of(table(*rows))).paths[0].path == path
