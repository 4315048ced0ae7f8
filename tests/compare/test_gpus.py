"""Cells get the GPUs that the user has chosen, one each, whatever they are called."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from qtuning.compare import work
from qtuning.compare.gpus import VISIBLE, visible_gpus
from qtuning.compare.runner import Runner, jobs_with_room

from .test_grid import folder, grid_of  # noqa: F401 - a fixture

UUIDS = ["GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1cd3c5c7-4c24-4c5c-b8c3-0e0a3a6b5a11"]
MIGS = [f"MIG-{uuid.removeprefix('GPU-')}" for uuid in UUIDS]


@pytest.fixture
def gpus(monkeypatch):
    """Pretend that there are GPUs, so many of them visible."""

    def pretend(n, chosen):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: n > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: n)
        if chosen is None:
            monkeypatch.delenv(VISIBLE, raising=False)
        else:
            monkeypatch.setenv(VISIBLE, chosen)

    return pretend


@pytest.mark.parametrize(
    ("n", "chosen", "found"),
    [
        (3, None, ["0", "1", "2"]),
        (2, "2,3", ["2", "3"]),
        (2, " 3, 0", ["3", "0"]),
        (1, "5,-1,2", ["5"]),
        (2, ",".join(UUIDS), UUIDS),
        (1, MIGS[0], MIGS[:1]),
        (1, ",".join(MIGS), MIGS),  # a process sees one of them
        (0, "", []),
        (0, None, []),
    ],
)
def test_there_are_as_many_jobs_as_gpus_that_the_user_has_chosen(gpus, n, chosen, found):
    gpus(n, chosen)
    assert visible_gpus() == found
    if found:
        assert jobs_with_room(10**9) == len(found)


def start_all(grid, out, n, monkeypatch, jobs):
    """The environments of the first ``n`` cells' processes, which are never started."""
    environments = []

    def popen(command, env, **how):
        environments.append(env)

    monkeypatch.setattr(work, "subprocess", SimpleNamespace(Popen=popen))
    made = Runner(grid, out, jobs, print)
    running = []
    for cell in grid.cells()[:n]:
        one = replace(made._work(cell, cell), key=str(len(running)))
        running.append(made._start(one, running))
    jobs_files = [out / "work" / str(number) / "job.json" for number in range(n)]
    return environments, [json.loads(file.read_text()) for file in jobs_files]


@pytest.mark.parametrize("chosen", [["2", "3"], UUIDS, MIGS], ids=["numbers", "UUIDs", "MIG"])
def test_cells_get_entries_of_the_users_list(folder, gpus, monkeypatch, chosen):  # noqa: F811
    gpus(1 if chosen == MIGS else 2, ",".join(chosen))
    environments, _ = start_all(grid_of(folder), folder / "out", 3, monkeypatch, jobs=3)
    assert [one[VISIBLE] for one in environments] == [*chosen, chosen[0]], "the third shares one"


def test_without_gpus_cells_share_the_cores(folder, gpus, monkeypatch):  # noqa: F811
    gpus(0, "")
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    environments, jobs = start_all(grid_of(folder), folder / "out", 2, monkeypatch, jobs=2)
    assert [one["OMP_NUM_THREADS"] for one in environments] == ["4", "4"]
    assert [job["threads"] for job in jobs] == [4, 4]


def test_a_process_that_does_not_end_is_killed(monkeypatch, tmp_path):
    """One that waits for a GPU may not hear SIGTERM."""
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print(1, flush=True)"
    process = subprocess.Popen(
        [sys.executable, "-c", f"{deaf}; time.sleep(600)"], stdout=subprocess.PIPE
    )
    process.stdout.readline()
    monkeypatch.setattr(work, "_PATIENCE", 0.1)
    cell = work.Work("a cell", "cell", "key", {}, tmp_path / "file")
    work.end_all([work.Running(cell, tmp_path, process, 0.0, 0)])
    assert process.returncode == -signal.SIGKILL


def test_a_signal_while_a_cell_is_started_ends_the_cell_too(folder, monkeypatch):  # noqa: F811
    class Started:
        """A process during whose start the signal comes."""

        returncode = None

        def __init__(self, command, **how):
            self.has_ended = False
            processes.append(self)
            signal.raise_signal(signal.SIGTERM)

        def poll(self):
            return -signal.SIGTERM if self.has_ended else None

        def terminate(self):
            self.has_ended = True

        def wait(self):
            return -signal.SIGTERM

    processes = []
    monkeypatch.setattr(work, "subprocess", SimpleNamespace(Popen=Started))
    handler = signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        with pytest.raises(SystemExit) as left:
            Runner(grid_of(folder), folder / "out", 2, print).run()
        assert left.value.code == 128 + signal.SIGTERM
        assert signal.getsignal(signal.SIGTERM).__name__ == "<lambda>", "handlers come back"
    finally:
        signal.signal(signal.SIGTERM, handler)
    assert [one.has_ended for one in processes] == [True]
