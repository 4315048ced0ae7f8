"""Means over several data sets are paired by seed, and only of what ran on all of them."""

from qtuning.compare.figures import Line
from qtuning.compare.grid import Data
from qtuning.compare.means import mean_groups, mean_tables
from qtuning.compare.statistics import t_interval
from qtuning.compare.tables import number

DATA = {name: Data(name, ("x",), score=score) for name, score in (("a", ("t:acc",)), ("b", ()))}
BUDGET = "12.5% x 50%"


def record(nll, acc):
    tasks = [] if acc is None else [{"task": "t", "metric": "acc", "filter": "none", "value": acc}]
    cost = {"samples": 0.125, "answer_tokens": 0.1, "compute": 0.4}
    return {"held_out": {"nll": nll, "calibration_error": 0.1}, "cost": cost, "tasks": tasks}


def line(method, data, nlls, acc=None, budget=BUDGET):
    records = {seed: record(nll, acc) for seed, nll in enumerate(nlls)}
    return Line("m", DATA[data], method, budget, records)


LINES = [
    line("full", "a", (1.0, 2.0, 3.0), acc=0.5, budget=""),
    line("full", "b", (2.0, 2.0, 2.0), budget=""),
    line("random-random", "a", (2.0, 3.0, 4.0), acc=0.25),
    line("random-random", "b", (4.0, 4.0, 4.0)),
    line("q-tuning", "a", (1.0, 2.5, 9.0), acc=0.375),
    line("q-tuning", "b", (3.0, 3.5)),  # its third seed is not there yet
    line("longest", "a", (1.0, 1.0, 1.0)),
]


def rows(means):
    (table,) = mean_tables(mean_groups(LINES, means))
    return {row[1]: dict(zip(table.header, row, strict=True)) for row in table.rows}


def test_only_what_ran_on_all_data_has_a_mean():
    assert list(rows({"both": ("a", "b")})) == ["full", "random-random", "q-tuning"]
    assert "longest" in rows({"one": ("a",)})
    assert mean_tables(mean_groups(LINES, {})) == []
    assert mean_tables(mean_groups([LINES[0]], {"both": ("a", "b")})) == []


def test_a_mean_is_of_each_seed_and_differences_are_paired():
    q = rows({"both": ("a", "b")})["q-tuning"]
    assert q["NLL"] == number(t_interval([2.0, 3.0]))
    assert q["NLL minus random-random"] == number(t_interval([2.0 - 3.0, 3.0 - 3.5]))
    assert q["NLL minus full"] == number(t_interval([2.0 - 1.5, 3.0 - 2.0]))
    assert q["seeds"] == "2"


def test_the_score_is_that_of_the_data_that_have_one():
    found = rows({"both": ("a", "b")})
    assert found["q-tuning"]["score"] == "37.5 ± 0.0"
    assert found["q-tuning"]["score minus full"] == "-12.5 ± 0.0"
    assert found["q-tuning"]["score minus random-random"] == "12.5 ± 0.0"
    assert set(found["full"].values()) >= {"", "50.0 ± 0.0"}  # not compared with itself


def test_one_seed_has_no_interval():
    one = mean_groups([line("full", "a", (1.0,), budget="")], {"one": ("a",)})
    (table,) = mean_tables(one)
    assert table.rows[0][5] == "1.000"


def test_a_mean_that_rounds_to_zero_has_no_sign() -> None:
    assert number(t_interval([-0.0001])) == number(t_interval([0.0001])) == "0.000"
