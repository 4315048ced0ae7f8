"""A stopwatch measures what lies between its construction and its end."""

import pytest
import torch

from qtuning.step import stopwatch
from qtuning.step.stopwatch import Stopwatch


def test_on_the_cpu_it_is_the_hosts_clock(monkeypatch) -> None:
    times = iter([10.0, 14.0])
    monkeypatch.setattr(stopwatch.time, "perf_counter", lambda: next(times))
    watch = Stopwatch(torch.device("cpu"))
    assert watch.seconds() == 0.0  # it still runs
    watch.leave_out(1.5)
    watch.stop()
    assert watch.seconds() == watch.seconds() == 2.5


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_cuda_it_waits_only_when_it_is_read() -> None:
    watch = Stopwatch(torch.device("cuda"))
    torch.randn(2000, 2000, device="cuda") @ torch.randn(2000, 2000, device="cuda")
    watch.stop()
    assert watch.seconds() > 0.0
