"""Rows as tokens, made when they are asked for."""

from datasets import Dataset

from qtuning.inspection.inspect import inspect_rows
from qtuning.inspection.prepare import ModelSource

from .made import config, pair

ROWS = [pair(f"{i} =", f" {i}{'!' * i}") for i in range(9)]


def to_show(folder, model, rows=ROWS, **options):
    source = ModelSource(str(model))
    return inspect_rows(Dataset.from_list(rows), "data", source, config(folder, **options))


def test_tokens_and_which_are_trained(tmp_path, plain) -> None:
    found, rows = to_show(tmp_path, plain)
    one = next(rows.of([3]))
    assert (one.row, one.sample_id, one.cut) == (3, "2", 0)
    assert "".join(one.tokens) == "2 = 2!!<eos>"
    assert one.trained == (*[False] * 3, *[True] * 5)
    assert found.shown == tuple(rows.of([1, 2, 3]))


def test_no_more_tokens_than_asked_for_and_what_is_cut(tmp_path, plain) -> None:
    _, rows = to_show(tmp_path, plain)
    one = next(rows.of([3], 5))
    assert ("".join(one.tokens), one.cut) == ("2 = 2", 3)
    assert len(one.trained) == 5
    _, rows = to_show(tmp_path, plain, max_length=4, truncation_mode="keep_end")
    one = next(rows.of([3]))
    assert ("".join(one.tokens), one.cut) == ("2!!<eos>", 4)
    assert one.trained == (False, True, True, True)


def test_in_order_those_first_that_findings_name(tmp_path, plain) -> None:
    rows = [*ROWS, ROWS[4], pair("a", ""), ROWS[2]]
    found, shown = to_show(tmp_path, plain, rows)
    order = [(one.row, one.findings) for one in shown.in_order()]
    named = {10: ("rows-repeated",), 12: ("rows-repeated",), 11: ("answers-empty",)}
    assert {row for one in found.findings for row in one.rows} >= named.keys()
    first = [row for row, names in order if names]
    assert first == [row for row, _ in order[: len(first)]]
    assert dict(order).items() >= named.items()
    assert sorted(row for row, _ in order) == list(range(1, 13))
    assert [row for row, names in order if not names] == sorted(
        row for row, names in order if not names
    )


def test_tokens_without_a_text_are_shown(tmp_path, plain) -> None:
    rows = [{"input_ids": [5, 999, 6, 1], "labels": [-100, 999, 6, 1]}]
    found, shown = to_show(tmp_path, plain, rows)
    one = next(shown.of([1]))
    assert len(one.tokens) == 4
    assert found.findings[0].name == "ids-beyond-embeddings"
