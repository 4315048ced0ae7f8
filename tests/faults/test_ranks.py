"""One rank that dies, hangs or is signalled ends all of them, and what is resumed is the same."""

import signal

import pytest
from safetensors.torch import load_file
from torch import equal

from qtuning import PeerLostError, read_ledger
from qtuning.run.checkpoints import damage

from .. import processes, runs
from . import worker

pytestmark = [
    pytest.mark.slow,  # all of them together
    pytest.mark.cpu("several ranks, which talk over gloo"),
]


def told(folder, rank):
    lines = (folder / f"told-{rank}.txt").read_text().splitlines()
    return [line for line in lines if line.startswith("qtuning: ")]


def same(folder, other):
    weights, others = (load_file(f / "model.safetensors") for f in (folder, other))
    assert all(equal(weights[name], others[name]) for name in weights)
    assert read_ledger(folder).equals(read_ledger(other))


def run(folder, n_ranks, resume=False, number=0, *where, **settings):
    folder.mkdir(exist_ok=True)
    settings = {"gradient_accumulation_steps": 2 // n_ranks or 1, **settings}
    return processes.start(n_ranks, worker.train, folder, settings, resume, number, *where)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    assert processes.end(run(folder, 2)) == [0, 0]
    return folder


@pytest.mark.parametrize("lost", [0, 1])
def test_a_rank_that_dies_is_named(tmp_path, whole, lost) -> None:
    codes = processes.end(run(tmp_path, 2, False, signal.SIGKILL, lost, 3))
    assert codes[lost] == -signal.SIGKILL
    assert codes[1 - lost] == 1
    (line,) = told(tmp_path, 1 - lost)
    assert f"rank {lost} was lost" in line
    assert damage(tmp_path / "checkpoint-2") is None
    if runs.RESUMES_TOGETHER:
        assert processes.end(run(tmp_path, 2, True)) == [0, 0]
        same(tmp_path, whole)


def test_of_three_the_one_that_died_is_named(tmp_path) -> None:
    codes = processes.end(run(tmp_path, 3, False, signal.SIGKILL, 1, 2))
    assert codes == [1, -signal.SIGKILL, 1]
    for rank in (0, 2):
        (line,) = told(tmp_path, rank)
        assert "rank 1 was lost" in line


def test_a_rank_that_hangs_is_named_after_the_timeout(tmp_path) -> None:
    ranks = run(tmp_path, 2, False, signal.SIGSTOP, 1, 2, timeout=40)
    try:
        assert processes.end(ranks[:1]) == [1]
    finally:
        ranks[1].kill()
    (line,) = told(tmp_path, 0)
    assert "rank 1 was lost" in line


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_one_rank_stops_all(tmp_path, whole, number) -> None:
    assert processes.end(run(tmp_path, 2, False, number, 1, 3)) == [128 + number] * 2
    assert damage(tmp_path / "checkpoint-3") is None
    if runs.RESUMES_TOGETHER:
        assert processes.end(run(tmp_path, 2, True)) == [0, 0]
        same(tmp_path, whole)


def test_the_error_says_how_to_go_on() -> None:
    assert str(PeerLostError([1], "[pair.cc] Connection closed. Good luck!\nmore")) == (
        "rank 1 was lost ([pair.cc] Connection closed): see what it told last, then go on with "
        "resume_from_checkpoint"
    )
    assert str(PeerLostError([], "")).startswith("the connection between ranks was lost (no reason")
