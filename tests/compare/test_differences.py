"""Differences to the methods that a grid names are paired by seed, at one budget or across."""

from qtuning.compare.differences import difference_tables
from qtuning.compare.figures import Line, groups
from qtuning.compare.grid import Budget, Data
from qtuning.compare.means import mean_groups
from qtuning.compare.statistics import t_interval
from qtuning.compare.tables import number, percent

DATA = {name: Data(name, ("x",), score=("t:acc",)) for name in ("a", "b")}
QUARTER, HALF = Budget(0.25, 0.5), Budget(0.5, 1.0)


def line(method, data, nlls, budget=QUARTER, acc=0.5, compute=0.4):
    task = {"task": "t", "metric": "acc", "filter": "none", "value": acc}
    records = {
        seed: {
            "held_out": {"nll": nll, "calibration_error": 0.1},
            "cost": {"samples": 0.25, "answer_tokens": compute / 2, "compute": compute},
            "tasks": [task],
        }
        for seed, nll in enumerate(nlls)
    }
    return Line("m", DATA[data], method, "" if budget is None else budget.name, records)


LINES = [
    line("full", "a", (1.0, 1.0), budget=None),
    line("q-tuning", "a", (2.0, 4.0)),
    line("drop", "a", (3.0, 7.0, 1.0), acc=0.25, compute=0.2),
    line("q-tuning", "a", (1.5, 3.0), budget=HALF),
    line("drop", "a", (1.0, 1.0), budget=HALF),
    line("q-tuning", "b", (1.0, 1.0)),
    line("drop", "b", (2.0, 1.0)),
    line("longest", "b", (2.0, 1.0)),
]
QUARTERS = [line for line in LINES if line.budget == QUARTER.name]


def names(table):
    return [row[:2] for row in table.rows]


def test_methods_are_compared_at_the_budget_of_the_reference():
    found = {table.title: table for table in difference_tables(groups(LINES), {"q-tuning": None})}
    assert list(found) == [f"m, {name}: differences to q-tuning" for name in "ab"]
    first = found["m, a: differences to q-tuning"]
    assert names(first) == [(QUARTER.name, "drop"), (HALF.name, "drop")]
    row = dict(zip(first.header, first.rows[0], strict=True))
    assert row["NLL minus q-tuning"] == number(t_interval([1.0, 3.0]))  # the seeds of both
    assert row["score minus q-tuning"] == percent(t_interval([-0.25, -0.25]))
    assert row["answer tokens over q-tuning"] == "0.50 ± 0.00"
    assert row["compute over q-tuning"] == "0.50 ± 0.00"
    assert row["seeds"] == "2"
    assert names(found["m, b: differences to q-tuning"])[1] == (QUARTER.name, "longest")


def test_a_reference_with_a_budget_is_compared_with_all_others():
    (table,) = difference_tables(groups(LINES), {"q-tuning": HALF})
    assert table.title == "m, a: differences to q-tuning 50% x 100%"
    assert names(table) == [
        (QUARTER.name, "q-tuning"),
        (QUARTER.name, "drop"),
        (HALF.name, "drop"),
    ]
    assert table.rows[0][3] == number(t_interval([0.5, 1.0]))


def test_means_are_compared_like_single_data():
    means = mean_groups(QUARTERS, {"both": ("a", "b")})
    (table,) = difference_tables(means, {"q-tuning": None})
    assert table.title == "m, both: mean of a, b: differences to q-tuning"
    assert [row[1] for row in table.rows] == ["drop"]
    assert table.rows[0][3] == number(t_interval([2.5 - 1.5, 4.0 - 2.5]))


def test_without_a_reference_there_is_no_table():
    assert difference_tables(groups(LINES), {}) == []
    assert difference_tables(groups(LINES), {"importance": None}) == []
    assert difference_tables(groups(LINES[:1]), {"full": None}) == []
