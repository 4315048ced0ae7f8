"""A whole comparison of a tiny model: run, killed, run again, and what comes out."""

import contextlib
import csv
import json
import math
import operator
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from qtuning.commands.main import main
from qtuning.compare.figures import groups, lines, partner
from qtuning.compare.grid import Data, read_grid
from qtuning.compare.key import cell_key, determined_by
from qtuning.compare.made_with import made_with_here
from qtuning.compare.power import power_table
from qtuning.compare.quadrants import quadrant_tables
from qtuning.compare.runner import CELLS, Runner
from qtuning.compare.statistics import Interval, detectable_difference, paired, t_interval
from qtuning.compare.tables import Table, latex, markdown, number, tables

from .. import processes
from .test_grid import GRID, folder  # noqa: F401 - a fixture

TRAINING = {
    "per_device_train_batch_size": 4,
    "gradient_accumulation_steps": 2,
    "num_train_epochs": 1,
    "learning_rate": 1e-3,
    "bf16": False,
    "gradient_checkpointing": False,
}


@pytest.fixture
def grid(folder):  # noqa: F811
    data = {"sums": {**GRID["data"]["sums"], "record": ["odd", "shuffled"], "shuffled": 0.3}}
    blocks = [
        {"methods": ["zero-shot", "full"], "budgets": [[0.5, 0.5]], "seeds": [0, 1]},
        {
            "methods": ["random-random", "q-tuning", "matched"],
            "budgets": [[0.5, 0.5]],
            "seeds": [0, 1],
        },
    ]
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump({**GRID, "data": data, "training": TRAINING, "grid": blocks}))
    return path


@pytest.fixture
def forked(monkeypatch):
    """Cells are processes forked from one that has everything imported."""
    popen = SimpleNamespace(Popen=processes.Forked)
    monkeypatch.setattr("qtuning.compare.work.subprocess", popen)


def compare(grid, out, *more):
    return main(["compare", "--config", str(grid), "--output_dir", str(out), "--jobs", "2", *more])


def started(grid, out, until, start=subprocess.Popen, module="qtuning"):
    """A comparison in a process group of its own, as far as ``until`` says."""
    command = [sys.executable, "-m", module, "compare", "--config", str(grid)]
    command += ["--output_dir", str(out), "--jobs", "1"]
    with (out.parent / "said.txt").open("wb") as said:
        process = start(
            command,
            start_new_session=True,
            stdout=said,
            # A shell starts what runs in its background with Ctrl-C ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
    deadline = time.monotonic() + processes.WAIT
    while not until(process):
        assert process.poll() is None, "it ended by itself"
        assert time.monotonic() < deadline, "it hangs"
        time.sleep(0.05)
    return process


def has_a_cell_at_work(process):
    """Whether one has been computing for a second; it takes several to import what it needs."""
    for file in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended since
            _, _, group, *more = file.read_text().rpartition(") ")[2].split()
            seconds = (int(more[8]) + int(more[9])) / os.sysconf("SC_CLK_TCK")
            if file.parent.name != str(process.pid) and int(group) == process.pid and seconds > 1:
                return True
    return False


def contents(out):
    return {path.name: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_comparison_runs_once_and_says_what_came_of_it(grid, forked, tmp_path, capsys):
    out = tmp_path / "out"
    assert compare(grid, out, "--dry_run") == 0
    assert capsys.readouterr().out.count("to do") == 9
    assert compare(grid, out) == 0
    said = capsys.readouterr().out
    assert "9 cells, 0 done" in said
    assert "[9/9]" in said
    records = [json.loads(path.read_text()) for path in (out / CELLS).glob("*.json")]
    assert len(records) == 9
    assert not list((out / "work").iterdir())
    made = made_with_here(Data("sums", ("x",)), TRAINING)
    assert all(record.items() >= made.items() for record in records), "as foreseen"
    by_method = {(r["method"], r["seed"]): r for r in records}
    q, full = by_method["q-tuning", 0], by_method["full", 0]
    assert full["cost"] == {"samples": 1, "answer_tokens": 1, "compute": 1, "token_cost": 3}
    assert q["cost"]["compute"] > q["cost"]["samples"], "scoring counts"
    assert sum(row["samples"] for row in q["quadrants"]) == 12
    assert [int(bits, 16).bit_count() for bits in q["kept"]] == [6], "half of 12, in one epoch"
    assert int(full["kept"][0], 16) == 2**12 - 1
    assert {row["shuffled"] for row in q["quadrants"]} == {True, False}
    matched = by_method["matched", 0]
    assert matched["cost"]["answer_tokens"] == pytest.approx(q["cost"]["answer_tokens"], abs=0.15)
    assert matched["budget"] == {"sample_ratio": 0.5, "token_ratio": 0.5}
    ratios = matched["ratios"]
    nominal = ratios["sample_ratio"] * ratios["token_ratio"]
    assert nominal == pytest.approx(q["cost"]["answer_tokens"], abs=0.01)
    assert by_method["zero-shot", 0]["held_out"]["rows"] == 6

    before = contents(out)
    assert {"results.md", "results.csv", "results.tex", "tiny-sums.png"} <= before.keys()
    text = before["results.md"].decode()
    assert "| 50% x 50% | q-tuning |" in text
    assert "±" in text
    values = list(csv.DictReader(before["results.csv"].decode().splitlines()))
    assert {row["measure"] for row in values} >= {"nll", "compute", "calibration_error", "accuracy"}
    assert compare(grid, out) == 0
    assert "9 cells, 9 done" in capsys.readouterr().out
    assert contents(out) == before, "a second run does nothing"
    # Tables need neither the model nor the data.
    content = grid.read_text()
    for name in ("train.jsonl", "test.jsonl", "model/model.safetensors"):
        (grid.parent / name).unlink()
    (out / "results.md").unlink()
    assert compare(grid, out, "--tables_only") == 0
    assert grid.read_text() == content
    assert contents(out) == before


@pytest.mark.slow
def test_a_comparison_that_is_killed_goes_on_where_it_was(grid, forked, tmp_path):
    out = tmp_path / "out"
    process = started(
        grid,
        out,
        until=lambda _: len(list((out / CELLS).glob("*.json"))) >= 2,
        start=processes.Forked,
        module="tests.compare.forking",
    )
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    done = {path: path.read_bytes() for path in (out / CELLS).glob("*.json")}
    assert len(done) >= 2
    assert compare(grid, out) == 0
    assert len(list((out / CELLS).glob("*.json"))) == 9
    assert all(path.read_bytes() == was for path, was in done.items()), "what was done stays"


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_cells_with_the_comparison(grid, tmp_path, number, code):
    out = tmp_path / "out"
    process = started(grid, out, until=has_a_cell_at_work)
    process.send_signal(number)
    assert process.wait(timeout=processes.WAIT) == code
    assert list(out.glob("work/*/log.txt")), "a cell was under way"
    with pytest.raises(ProcessLookupError):  # nothing is left of the group
        os.killpg(process.pid, 0)


@pytest.mark.slow
def test_a_cell_that_fails_is_named_and_the_others_are_kept(grid, forked, tmp_path, capsys):
    content = yaml.safe_load(grid.read_text())
    content["methods"]["q-tuning"] = {"sample_pruner": "math:sqrt"}
    content["grid"] = [
        {"methods": ["random-random", "q-tuning", "matched"], "budgets": [[0.5, 0.5]], "seeds": [0]}
    ]
    grid.write_text(yaml.safe_dump(content))
    out = tmp_path / "out"
    assert compare(grid, out, "--own_code") == 2
    told = capsys.readouterr()
    assert "FAILED tiny, sums: q-tuning" in told.out
    assert "2 cells failed, run the command again: " in told.err
    assert len(list((out / CELLS).glob("*.json"))) == 1
    assert "random-random" in (out / "results.md").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--jobs", "0"], "--jobs must be at least 1"),
        (["--job", "x"], "invalid int value"),
        (["--no_such"], "unrecognized arguments: --no_such"),
    ],
)
def test_bad_arguments(grid, tmp_path, capsys, arguments, said):
    more = [*arguments]
    command = ["compare", "--config", str(grid), "--output_dir", str(tmp_path / "o"), *more]
    assert main(command) == 2
    assert said in capsys.readouterr().err


def test_a_model_that_is_not_there(grid, tmp_path, capsys):
    content = yaml.safe_load(grid.read_text())
    content["models"] = {"tiny": "./no/such/folder"}
    grid.write_text(yaml.safe_dump(content))
    assert compare(grid, tmp_path / "o") == 2
    assert "no/such/folder" in capsys.readouterr().err


# Figures and tables


def record(nll, tokens=0.1, compute=0.4, acc=None, seconds=10.0):
    tasks = [] if acc is None else [{"task": "t", "metric": "acc", "filter": "none", "value": acc}]
    return {
        "held_out": {"nll": nll, "calibration_error": 0.1},
        "cost": {"samples": 0.125, "answer_tokens": tokens, "compute": compute},
        "counts": {"total_seconds": seconds},
        "tasks": tasks,
    }


def test_differences_are_paired_by_seed(grid):
    cells = [c for c in read_grid(grid).cells() if c.method.name in ("q-tuning", "random-random")]
    noise = {0: 1.0, 1: 2.0}
    done = [(c, record(noise[c.seed] + (0.5 if c.method.name == "q-tuning" else 0))) for c in cells]
    found = lines(done)
    ours = next(line for line in found if line.method == "q-tuning")
    theirs = partner(ours, found, "random-random")
    difference = ours.minus(theirs, "nll")
    assert difference.mean == pytest.approx(0.5)
    assert difference.half_width == pytest.approx(0.0, abs=1e-12)
    assert ours.mean("nll").half_width > 5  # t of one degree of freedom
    assert partner(ours, found, "full") is None
    seconds = paired(ours.values("seconds"), theirs.values("seconds"), operator.truediv)
    assert seconds.mean == 1.0
    assert paired({0: 1.0}, {1: 1.0}) is None


def test_token_accuracy_stands_beside_the_nll_where_a_record_has_it(grid):
    cells = [c for c in read_grid(grid).cells() if c.method.name in ("q-tuning", "random-random")]
    ours, theirs = (
        next(c for c in cells if c.method.name == n) for n in ("q-tuning", "random-random")
    )
    with_it = record(1.0)
    with_it["held_out"]["accuracy"] = 0.625
    results = tables(lines([(ours, with_it), (theirs, record(2.0))]))[0]
    place = results.header.index("token accuracy")
    assert {row[1]: row[place] for row in results.rows} == {"q-tuning": "62.5", "random-random": ""}


def test_the_score_is_a_mean_and_missing_where_a_part_is(grid):
    data = Data("d", ("x",), score=("t:acc", "u:acc,none"))
    both = record(1.0, acc=0.25)
    both["tasks"].append({"task": "u", "metric": "acc", "filter": "none", "value": 0.75})
    cell = replace(read_grid(grid).cells()[0], data=data)
    (line,) = lines([(cell, both)])
    assert line.mean("score").mean == 0.5
    (line,) = lines([(cell, record(1.0, acc=0.25))])
    assert line.mean("score") is None
    assert line.of_task("t:acc").mean == 0.25


def test_intervals_are_students(grid):
    interval = t_interval([1.0, 2.0, 3.0])
    assert interval.mean == 2.0
    assert interval.half_width == pytest.approx(4.302653 / 3**0.5)
    assert not interval.excludes_zero
    one = t_interval([1.0])
    assert (one.n, one.excludes_zero) == (1, False)
    assert math.isnan(one.half_width)
    assert Interval(-2.0, 1.0, 3).excludes_zero
    with pytest.raises(ValueError, match="no value"):
        t_interval([])


def test_the_detectable_difference_is_that_of_a_power_table():
    # Cohen: n = 34 pairs find d = 0.5 with power 0.8 at 5% (two-sided).
    assert detectable_difference(1.0, 34) == pytest.approx(0.5, abs=0.01)
    assert detectable_difference(2.0, 3) > detectable_difference(1.0, 3)


def test_a_quadrant_is_read_as_a_detector(grid):
    cell = next(c for c in read_grid(grid).cells() if c.method.name == "q-tuning")

    def row(quadrant, marked, n, kept=False):
        place = {"epoch": 0, "quadrant": quadrant, "kept": kept, "filled": False}
        return {**place, "shuffled": marked, "odd": 1, "samples": n}

    rows = [row(1, True, 3), row(1, False, 1), row(4, True, 1, kept=True), row(3, False, 5)]
    (table,) = quadrant_tables(lines([(cell, {**record(1.0), "quadrants": rows})]))
    found = {(r[0], r[1]): r[2:] for r in table.rows}
    assert found["first", "Q1"] == ("40.0", "75.0", "75.0")  # precision and recall
    assert found["all", "kept"] == ("10.0", "100.0", "25.0")
    assert found["all", "all"] == ("100.0", "40.0", "100.0")
    assert found["first", "Q2"] == ("0.0", "", "0.0")


def test_the_power_table_pools_paired_differences(grid):
    cells = [c for c in read_grid(grid).cells() if c.method.name in ("q-tuning", "random-random")]
    off = {("q-tuning", 0): 0.1, ("q-tuning", 1): 0.3}
    done = [(c, record(1.0 + c.seed + off.get((c.method.name, c.seed), 0.0))) for c in cells]
    table = power_table(groups(lines(done)))
    (row,) = table.rows
    assert row[:2] == ("tiny, sums", "NLL, nats")
    assert float(row[2]) == pytest.approx(0.2 / 2**0.5, abs=1e-4)
    assert row[3] == "2"
    assert float(row[4]) == pytest.approx(detectable_difference(0.2 / 2**0.5, 2), abs=1e-3)
    assert power_table(groups(lines(done[:1]))) is None


def test_text_cannot_break_a_table():
    table = Table("50% & more_of #it", ("a", "b", "c"), (("x|y", "50%", "1 ± 2"),))
    assert "| x\\|y | 50% | 1 ± 2 |" in markdown([table])
    made = latex([table])
    assert "50\\% \\& more\\_of \\#it" in made
    assert "1 $\\pm$ 2" in made
    assert number(None) == ""


def test_a_runner_does_not_take_a_half_written_result(grid, tmp_path):
    read = read_grid(grid)
    runner = Runner(read, tmp_path / "out", 1, print)
    cell = read.cells()[0]
    assert runner.result(cell) is None
    key = cell_key(determined_by(cell, read))
    work = tmp_path / "out" / "work" / key
    work.mkdir(parents=True)
    (work / "result.json").write_text("{")
    (tmp_path / "out" / CELLS / f".{key}.json.tmp").write_text("{")
    assert runner.result(cell) is None
    (tmp_path / "out" / CELLS / f"{key}.json").write_text('{"cell": "whole"}')
    assert runner.result(cell) == {"cell": "whole"}
