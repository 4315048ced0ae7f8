"""Rows are made ready ahead: nothing comes out otherwise, and nothing stays behind."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from qtuning.commands import score
from qtuning.offline.ahead import Waiting, ahead
from qtuning.offline.part_scorer import PartScorer

from .. import tiny
from .conftest import run_score

WORKS = 120  # seconds, after which a test that hangs fails


def threads() -> list[str]:
    return [one.name for one in threading.enumerate() if one.name.startswith("qtuning-ahead")]


def take(values, seen) -> None:
    with ahead(values, Waiting()) as made:
        for value in made:
            seen.append(value)


class Interrupted:
    """A user who presses Ctrl-C at the first value."""

    def append(self, value) -> None:
        raise KeyboardInterrupt


def test_values_come_in_their_order_and_the_thread_ends() -> None:
    with ahead((i for i in range(100)), Waiting()) as values:
        assert list(values) == list(range(100))
    assert threads() == []


def test_the_next_value_is_made_while_one_is_in_use_and_no_more_than_that() -> None:
    made = [threading.Event() for _ in range(4)]

    def numbers():
        for number, event in enumerate(made):
            event.set()
            yield number

    with ahead(numbers(), Waiting()) as values:
        assert next(values) == 0
        assert made[1].wait(WORKS), "made while 0 is in use"
        assert not made[2].wait(0.05), "memory holds one value in use and one ahead"
        assert list(values) == [1, 2, 3]


def test_an_error_is_raised_in_its_turn() -> None:
    def numbers():
        yield 1
        yield 2
        raise ValueError("row 3")

    with pytest.raises(ValueError, match="row 3"):
        take(numbers(), seen := [])
    assert seen == [1, 2]
    assert threads() == []


def test_what_breaks_off_leaves_no_thread() -> None:
    closed = threading.Event()

    def numbers():
        try:
            yield from range(100)
        finally:
            closed.set()

    with pytest.raises(KeyboardInterrupt):
        take(numbers(), Interrupted())
    assert threads() == []
    assert closed.is_set(), "what it reads from is closed"


def test_waiting_is_told_in_a_line() -> None:
    waiting = Waiting()
    with waiting():
        pass
    waiting.begun()
    assert waiting.before == waiting.seconds > 0
    with ahead((i for i in [1]), waiting) as values:
        list(values)
    assert waiting.seconds > waiting.before
    assert "\n" not in str(waiting)


@pytest.fixture
def scored_in(monkeypatch):
    """The threads that rows were made ready in, and scored in."""
    seen: dict[str, set[str]] = {"ready": set(), "scored": set()}
    ready, scored = PartScorer._ready, PartScorer._scored

    def look_ready(self, *args):
        for part in ready(self, *args):
            seen["ready"].add(threading.current_thread().name)
            yield part

    def look_scored(self, *args):
        seen["scored"].add(threading.current_thread().name)
        return scored(self, *args)

    monkeypatch.setattr(PartScorer, "_ready", look_ready)
    monkeypatch.setattr(PartScorer, "_scored", look_scored)
    return seen


@pytest.mark.parametrize("more", [[], ["--dataset_streaming"]], ids=["rows", "stream"])
def test_scores_are_those_of_one_thread(
    model, rows, scores, tmp_path, monkeypatch, scored_in, more, capsys
) -> None:
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output, "--per_token", *more) == 0
    assert scored_in["ready"] == {"qtuning-ahead_0"}
    assert scored_in["scored"] == {threading.main_thread().name}
    assert "the model waited" in capsys.readouterr().out
    monkeypatch.setattr(
        "qtuning.offline.part_scorer.ahead", lambda values, waiting: _at_once(values)
    )
    plain = tmp_path / "plain.parquet"
    assert run_score(model, rows, plain, "--per_token", *more) == 0
    assert scored_in["ready"] == {"qtuning-ahead_0", threading.main_thread().name}
    assert pq.read_table(output).equals(pq.read_table(plain))
    assert threads() == []


class _at_once:
    """The values, made when they are asked for."""

    def __init__(self, values) -> None:
        self._values = values

    def __enter__(self):
        return self._values

    def __exit__(self, *error) -> None:
        pass


def test_a_bad_row_of_a_stream_is_told_in_one_line_after_the_parts_before_it(
    model, tmp_path, capsys
) -> None:
    """Datasets 4.0 reads a stream by the thousand rows: of those with the bad one nothing comes."""
    some = [*tiny.rows(1030), {"prompt": 5, "completion": None, "id": "bad"}]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in some))
    output = tmp_path / "s.parquet"
    assert run_score(model, path, output, "--dataset_streaming") == 2
    *before, said = capsys.readouterr().err.strip().splitlines()
    assert "row 1031" in said
    assert not [line for line in before if "Traceback" in line or "row 1031" in line]
    assert len(list((tmp_path / "s.parquet.parts").glob("part-*.parquet"))) >= 1000 // 16
    assert threads() == []


def test_tokenising_in_processes_changes_nothing(model, rows, scores, tmp_path) -> None:
    output = tmp_path / "s.parquet"
    assert run_score(model, rows, output, "--per_token", "--dataset_num_proc", "2") == 0
    assert pq.read_table(output).equals(pq.read_table(scores))


@pytest.mark.slow
def test_ctrl_c_ends_it_and_finished_parts_are_kept(model, tmp_path) -> None:
    """Of a stream that takes minutes, once two parts are there."""
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in tiny.rows(40_000)))
    output = tmp_path / "s.parquet"
    command = [sys.executable, "-m", "qtuning", "score", "--model_name_or_path", str(model)]
    command += ["--dataset_name", str(path), "--output", str(output), "--rows_per_part", "16"]
    process = subprocess.Popen(
        [*command, "--dataset_streaming"],
        env={**os.environ, "HF_HOME": str(tmp_path / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell starts what runs in its background with Ctrl-C ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while process.poll() is None and len(list(tmp_path.glob("s.parquet.parts/part-*"))) < 2:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=600)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert len(list(tmp_path.glob("s.parquet.parts/part-*"))) >= 2


@pytest.mark.parametrize(
    ("cuda", "n", "named", "processes"),
    [
        pytest.param(False, 100_000, None, None, id="a CPU has other work"),
        pytest.param(True, 100_000, None, 6, id="a GPU waits"),
        pytest.param(True, 9_000, None, 2, id="few rows"),
        pytest.param(True, 100, None, None, id="very few"),
        pytest.param(True, 100_000, 3, 3, id="the user's word"),
    ],
)
def test_a_gpu_has_rows_tokenised_by_several(
    model, tmp_path, monkeypatch, cuda, n, named, processes
) -> None:
    jobs = []
    monkeypatch.setattr(score, "score_with_bar", lambda data, output, job, **how: jobs.append(job))
    monkeypatch.setattr(score.torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(score.os, "cpu_count", lambda: 6)
    monkeypatch.setattr(score, "use_bf16", lambda asked: False)
    data = Dataset.from_dict({"text": ["a"] * n})
    monkeypatch.setattr(score, "load_rows", lambda *args: (data, "here"))
    monkeypatch.setattr(
        score,
        "processes",
        lambda: SimpleNamespace(num_processes=1, destroy_process_group=lambda: None),
    )
    more = [] if named is None else [f"--dataset_num_proc={named}"]
    named_model = ["--model_name_or_path", str(model), "--dataset_name", "here"]
    score.run([*named_model, "--output", str(tmp_path / "s.parquet"), *more])
    assert [job.dataset_num_proc for job in jobs] == [processes]
